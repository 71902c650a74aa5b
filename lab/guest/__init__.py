"""A guest: another kernel in which the very same `lab` command runs, with the same files, output and exit status.

    Kernel, words ── choose ──> Guest ── qemu, uml ──> command line ── machine ──> process
                                                                          │ channel: frames
    caller's streams and signals <── session ─────────────────────────────┤
                                                                 inside: furnish, agent, jobs ──> lab

`spec`, `frames`, `qemu`, `uml` and `verdict` are pure. What runs in the guest is `inside`. `confine` and `seal` are scripts of
their own. For a stranger's work:

    what was sent ── inputs ──┐
    lists ── allowed ── share ┴─> Tree ── seal ──> QEMU's root ── trial ──> the job
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.guest.choose import Wishes
    from lab.guest.once import Limits
    from lab.kernels import Kernel


def run(
    kernel: Kernel | str,
    argv: Sequence[str],
    *,
    report: Sequence[Path] = (),
    wishes: Wishes | None = None,
    warp: bool = False,
    keys: bool = False,
    env: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    tell: Callable[[str], object] = lambda _: None,
    ready: Callable[[], object] = lambda: None,
) -> int:
    """Boots a kernel and runs `lab ARGV` in it, on this process's streams; the exit status of that.

    `report`: files and folders of the host that it may write. `wishes` and `warp` say more of the guest; `keys`: it reads what
    is typed or piped in; `env`: more variables for it. `tell` hears in a line what is booted, `ready` is called when that is
    done. To be called in the main thread, which hears signals. Raises HostError where the guest does not boot, panics, hangs or
    runs out of memory; TopologyError where the kernel is none that there can be."""
    from lab.guest import once

    return once.run(kernel, argv, report, wishes, warp, keys, env, limits, tell, ready)
