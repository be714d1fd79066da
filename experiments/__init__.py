"""What the pages say beside the program's own numbers: each module is a command of its own."""

import sys

from support.startup import how_to_install

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(f"experiments: error: {how_to_install(error)}")
