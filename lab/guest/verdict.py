"""Why a guest came to no end of its own: told from how its process ended and what its kernel said last. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from lab.errors import HostError, Problem
from lab.guest import harmless
from lab.guest.spec import Guest

_LINES = 14  # of the console
_AFTER = 2  # lines, from that of the panic on
_OOPS_LINES = 80  # of an oops, which is told whole: its call trace is what whoever chases it needs
_PANIC = "Kernel panic - not syncing"
_OOPS = re.compile(
    r"BUG: |kernel BUG at|Oops: |general protection fault|Unable to handle kernel|divide error|double fault|stack segment"
)
"""How the first line of an oops begins, or the second (arch/*/kernel/traps.c, mm/fault.c, lib/bug.c)."""
_CAME_TO_GRIEF = re.compile(r"panicked$|hangs: |ran out of memory: |was killed$|was ended$")
_TIMES = re.compile(r"^\[ *\d+\.\d+\] ?")
_OUT_OF_MEMORY = re.compile(r"Out of memory|System is deadlocked on memory|out_of_memory|Failed to execute /init \(error -12\)")


class End(StrEnum):
    """The ways."""

    PANIC = "panic"
    MEMORY = "out of memory"
    BOOT = "did not boot"
    HANG = "hangs"
    DIED = "died"


def of_process(console: str, ready: bool) -> End:
    """Of a guest whose process has ended before its job did; `ready` once its agent had spoken."""
    if _OUT_OF_MEMORY.search(console):
        return End.MEMORY
    if _PANIC in console:
        return End.PANIC if ready else End.BOOT
    return End.DIED if ready else End.BOOT


def failure(end: End, guest: Guest, console: str, complaints: str = "", seconds: float = 0) -> HostError:
    """In words, with the last lines of the kernel, or of the program that should run it. `seconds` of waiting in vain."""
    more = f"give the guest more: --memory {guest.memory * 2}"
    said, hint = {
        End.PANIC: (f"kernel {guest.release} panicked", "its last lines are above; everything in the guest is gone"),
        End.MEMORY: (f"the guest ran out of memory: it has {guest.memory} MiB", more),
        End.BOOT: (f"kernel {guest.release} did not boot in {guest.substrate.words}{_within(seconds)}", _ANOTHER),
        End.HANG: (f"kernel {guest.release} hangs: it has not answered for {seconds:g} s", "it was ended; " + _ANOTHER),
        End.DIED: (
            f"the guest with kernel {guest.release} was killed",
            "did somebody end its process, or is the host's memory short?",
        ),
    }[end]
    lines = last_lines(console, end) or complaints.strip().splitlines()[-_LINES:]
    told = "".join(f"\n    | {harmless.line(line)}" for line in lines)
    return HostError([Problem(f"{said}{told}", hint)])


def had_booted(message: str) -> bool:
    """Whether `failure` says so of a guest that was there, and came to grief."""
    return bool(_CAME_TO_GRIEF.search(message.partition("\n")[0]))


def tampered(why: str, guest: Guest) -> HostError:
    """The guest's agent was made to say what it never does."""
    lines = "".join(f"\n    | {harmless.line(line)}" for line in why.splitlines()[-_LINES:])
    said = f"the guest with kernel {guest.release} was ended{lines}"
    return HostError(said, "what runs in it has tampered with its agent, or this is a fault of lab's")


_ANOTHER = "try another kernel, or `--memory` with more; `lab kernels` lists what there is"


def _within(seconds: float) -> str:
    return f" within {seconds:g} s" if seconds else ""


def last_lines(console: str, end: End) -> list[str]:
    """What the kernel said at last, without its times; of a panic from its beginning on."""
    lines = [_TIMES.sub("", line.rstrip()) for line in console.splitlines() if line.strip()]
    if end in (End.PANIC, End.BOOT):
        first = next((number for number, line in enumerate(lines) if _PANIC in line), None)
        if first is not None:
            before = _cause(lines[:first])
            return [*before, *lines[first : first + max(_LINES - len(before), _AFTER)]]
    return lines[-_LINES:]


def _cause(lines: list[str]) -> list[str]:
    """What stands before a panic: the oops, from its beginning on, or the traceback of the agent."""
    begin = max(len(lines) - _OOPS_LINES, 0)
    oops = next((number for number, line in enumerate(lines[begin:], begin) if _OOPS.search(line)), len(lines) - 6)
    return [line for line in lines[max(oops, 0) :] if not line.startswith("---[")]
