"""Names of functions of the running kernel by an address in them, where it shows these (proc(5), kernel.kptr_restrict)."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from pathlib import Path

_KALLSYMS = Path("/proc/kallsyms")


def name_of(address: int) -> str:
    """Empty where it is not told."""
    addresses, names = _functions()
    at = bisect_right(addresses, address) - 1
    return names[at] if at >= 0 and addresses[at] else ""


@cache
def _functions() -> tuple[list[int], list[str]]:
    """In the order of their addresses; a hundred thousand, read once."""
    try:
        lines = _KALLSYMS.read_text().splitlines()
    except OSError:
        return [], []
    found = sorted((int(fields[0], 16), fields[2]) for fields in map(str.split, lines) if fields[1] in "tTwW")
    return [address for address, _ in found], [name for _, name in found]
