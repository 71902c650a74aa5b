"""`lab` and `python -m lab`."""

from __future__ import annotations

import sys


def main() -> None:
    from lab.cli.app import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
