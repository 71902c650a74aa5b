"""The whole commands against the floor's whole process, until everything is gone."""

from __future__ import annotations

from functools import partial

from kit import Kit, alternate, median, slow_run_directory
from rows import Figure, Goal, bench, ratio_at_most
from star import written_out
from subjects import Timing, held_by_a_process, made_by_commands

HOSTS = 500
TIMES = 5


@bench(
    Goal(f"lab up + lab down, {HOSTS} hosts, until all is gone; floor.c create + delete", "s", ratio_at_most(2)),
    Goal(f"lab up, {HOSTS} hosts; floor.c create", "s"),
    Goal(f"lab down, {HOSTS} hosts, until all is gone; floor.c delete", "s"),
)
def commands(kit: Kit) -> list[Figure]:
    """Process start, reading the file and the kernel's own clean-up in the background are all counted, on both sides."""
    file = kit.file(f"star-{HOSTS}.yaml", written_out(HOSTS))
    with kit.watcher() as watcher:
        lab, floor = alternate(
            kit.times(TIMES),
            partial(made_by_commands, watcher, kit.lab(), file, kit.name("commands"), HOSTS),
            partial(held_by_a_process, watcher, kit.floor(HOSTS), HOSTS),
        )
    return [Figure(median(lab, of), median(floor, of), slow_run_directory()) for of in (_whole, _up, _down)]


def _whole(timing: Timing) -> float:
    return timing.whole_s


def _up(timing: Timing) -> float:
    return timing.up_s


def _down(timing: Timing) -> float:
    return timing.down_s
