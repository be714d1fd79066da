"""Feature maps, curves, GIFs and pages. Bytes out, no decisions."""
