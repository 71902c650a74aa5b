"""Kernel and wishes -> Guest: which substrate, which files, how many processors.

KVM only where the processor has it and the trial of a whole boot has not failed before: /dev/kvm can be there and useless, as
under another hypervisor. A kernel that is a process needs neither.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import HostError, Problem
from lab.guest import qemu, share
from lab.guest.spec import LEAST_MEMORY, MEMORY, Guest, Substrate

if TYPE_CHECKING:
    from lab.kernels import Kernel

_INIT = Path(__file__).with_name("init")
_AGENT = Path(__file__).parent / "inside" / "agent.py"
_CPUINFO, _KVM = Path("/proc/cpuinfo"), Path("/dev/kvm")
_CPUS_WITH_KVM = 2  # more do not help one command


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user may say of a guest. `memory` in MiB, None for the default, as of `cpus`; `warp`: virtual time; `debugger`:
    the path of a Unix socket for gdb; `extra`: more words for QEMU. `untrusted`: a stranger's work runs in it, and these are
    the stranger's files and folders; None where it is the user's own."""

    memory: int | None = None
    cpus: int | None = None
    warp: bool = False
    debugger: Path | None = None
    extra: tuple[str, ...] = ()
    untrusted: tuple[Path, ...] | None = None


def sealed(kernel: Kernel, wishes: Wishes, substrate: Substrate, trial: Path) -> Guest:
    """The same for a stranger's work: in a root of its own. `trial` is a folder that it sees beside what is allowed."""
    open_ = guest(kernel, wishes, substrate)
    assert open_.initrd is not None
    devices = [str(_KVM)] if substrate is Substrate.KVM else []
    tree = share.tree(wishes.untrusted or (), open_.image, open_.initrd, kernel.modules, trial, devices)
    told = {"LAB_MODULES": share.MODULES if kernel.modules else "", "LAB_TRIAL": share.TRIAL}
    return replace(
        open_,
        image=Path(share.IMAGE),
        initrd=Path(share.INITRD),
        root=Path(share.SHARE),
        environment={**open_.environment, **told},
        tree=tree,
    )


def guest(kernel: Kernel, wishes: Wishes, substrate: Substrate) -> Guest:
    """Raises HostError, TopologyError.

    One processor, where it is emulated: two that wait for each other take twice as much of this host as soon as another guest
    wants it too, and save a tenth of the time where none does."""
    uml = substrate is Substrate.UML
    elf, initrd = (kernel.image, None) if uml else _booted_by_qemu(kernel)
    return Guest(
        release=kernel.release,
        substrate=substrate,
        image=elf,
        initrd=initrd,
        agent=(sys.executable, str(_AGENT)),
        environment={
            "LAB_MODULES": str(kernel.modules or ""),
            "LAB_LOAD": _overlay(kernel) if uml else "",
            "LAB_WARP": "1" if wishes.warp else "",
            "LAB_SEED": os.urandom(32).hex(),
        },
        memory=checked_memory(wishes.memory),
        cpus=wishes.cpus or (min(_CPUS_WITH_KVM, len(os.sched_getaffinity(0))) if substrate is Substrate.KVM else 1),
        warp=wishes.warp,
        debugger=wishes.debugger,
        extra=wishes.extra,
    )


def _booted_by_qemu(kernel: Kernel) -> tuple[Path, Path]:
    from lab import kernels

    files = kernels.bootable(kernel, qemu.MODULES, {"/init": _INIT.read_bytes()})
    return files.elf, files.initrd


def _overlay(kernel: Kernel) -> str:
    """The path of the module that a root without an initramfs needs; nothing where it is built in."""
    found = kernel.modules.glob("kernel/fs/overlayfs/overlay.ko*") if kernel.modules else ()
    return str(next(iter(found), ""))


def checked_memory(memory: int | None) -> int:
    """Raises TopologyError."""
    if memory is not None and memory < LEAST_MEMORY:
        from lab.errors import TopologyError

        raise TopologyError(f"--memory {memory}: a guest needs at least {LEAST_MEMORY} MiB", f"without it a guest has {MEMORY}")
    return memory or MEMORY


def substrates(kernel: Kernel, wishes: Wishes) -> tuple[Substrate, ...]:
    """Those that can run it, the fastest first. Raises TopologyError where none can do what is wished, HostError where none
    may."""
    if kernel.flavour == "uml":
        if wishes.untrusted is not None:
            raise HostError(f"{kernel.name} is not for a stranger's work: {WHY_NOT_UML}", "name a kernel that QEMU runs")
        if refused := _what_uml_cannot(wishes):
            from lab.errors import TopologyError

            raise TopologyError(f"User-mode Linux cannot do {refused}", "name a kernel that QEMU runs, such as --kernel 6.1")
        return (Substrate.UML,)
    if wishes.warp and wishes.cpus not in (None, 1):
        from lab.errors import TopologyError

        raise TopologyError("virtual time goes with one processor", f"leave out --cpus {wishes.cpus}, or --warp")
    # A breakpoint of gdb's is written into memory under KVM, and before the kernel runs nothing is mapped where it shall be.
    if wishes.warp or wishes.debugger or not kvm_may_work(kernel):
        return (Substrate.TCG,)
    return (Substrate.KVM, Substrate.TCG)


WHY_NOT_UML = "the root of a User-mode Linux mounts any folder of the host, and makes any system call there"


def for_a_stranger(kernel: Kernel) -> Kernel:
    """The kernel itself where QEMU runs it, else Debian's own of the same series. Raises HostError where that is not here."""
    if kernel.flavour != "uml":
        return kernel
    from lab import kernels
    from lab.kernels import names

    try:
        return kernels.find(names.series_of(kernel.release))
    except HostError as error:
        problems = (Problem(f"{kernel.name} is not for a stranger's work: {WHY_NOT_UML}"), *error.problems)
        raise HostError(problems) from error


def _what_uml_cannot(wishes: Wishes) -> str:
    if wishes.warp:
        return "--warp: its clock is the host's"
    if wishes.cpus not in (None, 1):
        return f"--cpus {wishes.cpus}: it has one processor"
    return "debug: it has no place for gdb to attach to" if wishes.debugger or wishes.extra else ""


# KVM


def kvm_may_work(kernel: Kernel) -> bool:
    """Whether it is worth a trial: the processor says so, this user may, and no trial failed since the host was booted."""
    if not os.access(_KVM, os.R_OK | os.W_OK) or _failed_mark(kernel).exists():
        return False
    flags = next((line for line in _CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return bool({"vmx", "svm"} & set(flags.split()))


def kvm_failed(kernel: Kernel) -> None:
    """Remembers that a trial failed, until the host is booted anew."""
    mark = _failed_mark(kernel)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _failed_mark(kernel: Kernel) -> Path:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return kernel.cache / f"kvm-failed-{boot}"
