"""``python -m sensei`` is the command ``sensei``."""

import sys

from sensei.cli import main

if __name__ == "__main__":
    sys.exit(main())
