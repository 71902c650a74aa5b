"""`lab` and `python -m lab`."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    from lab.cli.app import main as run

    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # What a large topology became would be freed object by object, for 50 ms, and then the process ends all the same.
    os._exit(status)


if __name__ == "__main__":
    main()
