"""What every call costs before it does anything, and how fast a large file is checked. Needs no root."""

from __future__ import annotations

import sys
from functools import partial

from kit import Kit, alternate, median
from rows import Figure, Goal, bench, excess_at_most, value_at_most
from star import with_loops, written_out
from subjects import run, seconds

NODES = 1000
LOAD = "import sys, yaml; yaml.load(open(sys.argv[1]), yaml.CSafeLoader)"


@bench(Goal("lab --version; python3 -c pass, the same Python", "s", excess_at_most(0.060)))
def version(kit: Kit) -> list[Figure]:
    """The first call of each is not counted: it may have to compile the modules."""
    subjects = [*kit.lab(), "--version"], [sys.executable, "-c", "pass"]
    return [_compare(kit.times(15), *subjects)]


@bench(
    Goal(f"lab validate, a star of {NODES} nodes written out; python3 with libyaml loading the file", "s", value_at_most(0.5)),
    Goal(
        f"lab validate, a star of {NODES} nodes by two loops; python3 with libyaml loading the other", "s", value_at_most(0.5)
    ),
)
def validate(kit: Kit) -> list[Figure]:
    """The whole command, from the shell's point of view."""
    files = kit.file("written.yaml", written_out(NODES - 1)), kit.file("loops.yaml", with_loops(NODES - 1))
    load = [sys.executable, "-c", LOAD, str(files[0])]
    return [_compare(kit.times(5), [*kit.lab(), "validate", str(file)], load) for file in files]


def _compare(times: int, measured: list[str], reference: list[str]) -> Figure:
    for argv in (measured, reference):
        run(argv)
    runs = alternate(times, partial(seconds, measured), partial(seconds, reference))
    return Figure(median(runs[0], float), median(runs[1], float))
