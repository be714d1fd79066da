"""Measurements: `python -m benchmarks` runs all, `python -m benchmarks PART ...` some."""
