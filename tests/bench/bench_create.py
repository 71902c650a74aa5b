"""How long the engine takes to create a star, against the floor: floor.c."""

from __future__ import annotations

from functools import partial

from kit import Kit, alternate, median, slow_run_directory
from rows import Figure, Goal, bench, ratio_at_most
from star import written_out
from subjects import held_by_a_process

SIZES = (100, 500, 1000)
TIMES = 5


def _goal(hosts: int) -> Goal:
    target = ratio_at_most(1.5) if hosts == 500 else None
    return Goal(f"create {hosts} hosts, Lab.up alone: file read before, no waiting; floor.c", "s", target)


@bench(
    *map(_goal, SIZES),
    Goal("create, growth per host of the engine: 1000 hosts; 100 hosts", "ms/host", ratio_at_most(1.3)),
    Goal("create, growth per host of the floor: 1000 hosts; 100 hosts", "ms/host"),
)
def create(kit: Kit) -> list[Figure]:
    """All sizes of both alternate in one call; what each process says of its work alone is counted."""
    with kit.watcher() as watcher:
        subjects = []
        for hosts in SIZES:
            file = kit.file(f"star-{hosts}.yaml", written_out(hosts))
            commands = kit.engine(file, kit.name(str(hosts))), kit.floor(hosts)
            subjects += [partial(held_by_a_process, watcher, argv, hosts) for argv in commands]
        runs = alternate(kit.times(TIMES), *subjects)
    medians = [median(timings, lambda timing: timing.created_s) for timings in runs]
    engine, floor = (dict(zip(SIZES, medians[start::2], strict=True)) for start in (0, 1))
    against = [Figure(engine[hosts], floor[hosts], slow_run_directory()) for hosts in SIZES]
    return [*against, _growth(engine), _growth(floor)]


def _growth(seconds: dict[int, float]) -> Figure:
    small, large = SIZES[0], SIZES[-1]
    return Figure(seconds[large] / large * 1e3, seconds[small] / small * 1e3)
