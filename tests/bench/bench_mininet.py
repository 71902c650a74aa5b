"""Against Mininet, until everything is gone: library against library, and the whole commands."""

from __future__ import annotations

from functools import partial

from kit import Kit, alternate, median
from rows import Figure, Goal, bench, ratio_at_most
from star import written_out
from subjects import held_by_a_process, made_by_commands

HOSTS = 100
TIMES = 3
TEN_TIMES_FASTER = ratio_at_most(0.1)


@bench(
    Goal(f"Lab.up alone, {HOSTS} hosts; Mininet() and net.start() alone (IPv4 only)", "s", TEN_TIMES_FASTER),
    Goal(f"Lab.down, {HOSTS} hosts, until all is gone; net.stop(), likewise", "s", TEN_TIMES_FASTER),
    Goal(f"lab up, {HOSTS} hosts; Mininet's whole process until the network stands", "s", TEN_TIMES_FASTER),
    Goal(f"lab down, {HOSTS} hosts, until all is gone; net.stop(), likewise", "s", TEN_TIMES_FASTER),
)
def mininet(kit: Kit) -> list[Figure]:
    """Mininet gives its hosts an IPv4 address only and keeps a shell in each; lab gives them IPv6 as well."""
    file = kit.file(f"star-{HOSTS}.yaml", written_out(HOSTS))
    with kit.watcher() as watcher:
        library, commands, other = alternate(
            kit.times(TIMES),
            partial(held_by_a_process, watcher, kit.engine(file, kit.name("library")), HOSTS),
            partial(made_by_commands, watcher, kit.lab(), file, kit.name("mininet"), HOSTS),
            partial(held_by_a_process, watcher, kit.mininet(HOSTS), HOSTS),
        )
    down = median(other, lambda timing: timing.down_s)
    return [
        _figure(median(library, lambda timing: timing.created_s), median(other, lambda timing: timing.created_s)),
        _figure(median(library, lambda timing: timing.down_s), down),
        _figure(median(commands, lambda timing: timing.up_s), median(other, lambda timing: timing.up_s)),
        _figure(median(commands, lambda timing: timing.down_s), down),
    ]


def _figure(lab: float, other: float) -> Figure:
    return Figure(lab, other, f"{other / lab:.1f} times faster")
