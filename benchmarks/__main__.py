"""The command line of the benchmarks: prints Markdown; RESULTS.md sums up what it printed."""

import argparse
import importlib
import platform
import sys

from process.cores import physical_cores
from process.errors import UserError
from process.libraries import how_to_install

PARTS = ("training", "epoch", "centers", "knn")


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs")
    args = parser.parse_args()
    unknown = sorted(set(args.part) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]}")
    print(machine())
    for name in args.part or PARTS:
        part = importlib.import_module(f"benchmarks.{name}")
        print(f"benchmarks: {name}", file=sys.stderr, flush=True)
        print(f"\n## {part.__doc__.splitlines()[0]}\n\n{part.run(args.smoke)}", flush=True)


def machine():
    with open("/proc/cpuinfo") as file:
        names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    return (
        f"{', '.join(sorted(names)) or 'unknown processor'}, {physical_cores()} cores; "
        f"{platform.system()}, Python {platform.python_version()}. Contenders take turns in one "
        "run; each number is the median of the turns, with the smallest and the largest in "
        "brackets, and each ratio the median of the ratios within a turn."
    )


if __name__ == "__main__":
    try:
        main()
    except ModuleNotFoundError as error:
        sys.exit(f"benchmarks: error: {how_to_install(error)}")
    except UserError as error:
        sys.exit(f"benchmarks: error: {error}")
