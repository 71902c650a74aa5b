"""How soon an experiment begins in a guest, against the bare boot of the same kernel; experiments on many kernels, and side by
side. Of several runs the quickest counts, on both sides: guests keep every processor busy, and wait for one that is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from kit import Kit, alternate
from rows import BrokenError, CannotMeasureError, Figure, Goal, bench, ratio_at_most, value_at_most

from lab import kernels, scenarios
from lab.errors import HostError
from lab.guest import confine, qemu, uml
from lab.kernels import Kernel

TIMES = 3
UML, STOCK = "uml-6.1", "6.1"
KERNELS = ("5.10", STOCK, "6.12", UML)
EXPERIMENTS = ("rp-filter", "tcp-md5", "syn-retries")
JOBS = 4
HERE = "the-shell-is-here"

BEGINS = '''"""One check that does nothing."""

def test_it():
    """It begins."""
'''
STANDS = '''"""One check that makes a lab."""
from lab import Lab

def test_it():
    """It begins."""
    with Lab.up("two-hosts"):
        pass
'''
SHELL = f"#!/bin/busybox sh\necho {HERE}\nread -r nothing\n"


def _goals(kernel: str, place: str, limit: float) -> tuple[Goal, Goal]:
    bare = "; its bare boot to a shell's first command"
    begins = f"lab --kernel {kernel} run, to the first check, {place}{bare}"
    return Goal(begins, "s", value_at_most(limit)), Goal(f"and until a lab of two hosts was made and is gone{bare}", "s")


@bench(*_goals(UML, "in User-mode Linux", 5))
def user_mode_linux(kit: Kit) -> list[Figure]:
    """The kernel with the host's root, and a shell as its first process."""
    kernel = _fetched(UML)
    confined = [sys.executable, "-I", "-S", confine.__file__, str(kernel.image), "mem=1024M"]
    words = ["rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=fd:0,fd:1", "ssl=null", f"uml_dir={uml.SCRATCH}/"]
    bare = [*confined, *words, "quiet", "init=/bin/sh", "--", str(kit.file("shell", SHELL))]
    return _begin(kit, UML, bare)


@bench(*_goals(STOCK, "in QEMU without KVM", 9))
def qemu_in_software(kit: Kit) -> list[Figure]:
    """The kernel with nothing but a shell in its initial file system."""
    files = kernels.bootable(_fetched(STOCK), (), {"/init": SHELL.encode()})
    machine = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none", "-M", "q35", "-m", "1024"]
    said = ["-kernel", str(files.elf), "-initrd", str(files.initrd), "-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]
    accelerator = ["-accel", "tcg,thread=multi", "-cpu", "Nehalem,+rdrand", "-smp", "2"]
    return _begin(kit, STOCK, [qemu.PROGRAM, *machine, *accelerator, *said, "-serial", "stdio"])


def _begin(kit: Kit, kernel: str, bare: Sequence[str]) -> list[Figure]:
    files = kit.file("test_begins.py", BEGINS), kit.file("test_stands.py", STANDS)
    runs = [[*kit.lab(), "--kernel", kernel, "run", str(file)] for file in files]
    first = [partial(_until, argv, "It begins") for argv in runs]
    first[0]()  # what is made once for a kernel, and compiled
    begins, stands, boot = map(min, alternate(kit.times(TIMES), *first, partial(_until, bare, HERE)))
    return [Figure(begins, boot), Figure(stands, boot)]


def _until(argv: Sequence[str], text: str) -> float:
    """Seconds from the start of a process until a line of its stdout has the text; then it is ended."""
    start, pipe = time.monotonic(), subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if text in line:
                    return time.monotonic() - start
        finally:
            process.kill()
    raise BrokenError(f"{argv[0]} ended without {text!r}: {''.join(lines[-3:]).strip()}")


def _fetched(name: str) -> Kernel:
    try:
        return kernels.find(name)
    except HostError as error:
        raise CannotMeasureError(f"lab kernels fetch {name}") from error


@bench(Goal(f"lab matrix, {len(EXPERIMENTS)} experiments on {len(KERNELS)} kernels", "s", value_at_most(120)))
def matrix(kit: Kit) -> list[Figure]:
    """Once: it is long, and keeps the machine busy by itself. What does not hold on a kernel is the experiments' matter."""
    for name in KERNELS:
        _fetched(name)
    took = _experiments(kit, "matrix", *EXPERIMENTS, "--kernels", ",".join(KERNELS))
    return [Figure(took)]


@bench(
    Goal(
        f"lab run -j {JOBS}, every shipped scenario; the larger of the longest one and the processors' share of their work",
        "s",
        ratio_at_most(1.3),
    )
)
def side_by_side(kit: Kit) -> list[Figure]:
    """What no order and no number of processes can undercut is the reference. On this kernel alone: a guest is work for more
    processors than one."""
    if os.geteuid():
        raise CannotMeasureError("the host's kernel log needs root: run it with sudo")
    before = os.times()
    each = [_experiments(kit, "--kernel", "host", "run", name) for name in scenarios.paths()]
    after = os.times()
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    least = max(*each, worked / len(os.sched_getaffinity(0)))
    return [Figure(_experiments(kit, "--kernel", "host", "run", "-j", str(JOBS)), least)]


def _experiments(kit: Kit, *words: str) -> float:
    """Seconds. A check that does not hold, or is skipped, is no fault of what is measured here."""
    start = time.monotonic()
    done = subprocess.run([*kit.lab(), *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 4):
        raise BrokenError(f"lab {' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
    return time.monotonic() - start
