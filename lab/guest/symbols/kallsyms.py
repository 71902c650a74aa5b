"""What /proc/kallsyms says of a kernel -> symbols with sizes, and functions. Pure. See nm(1) for the letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from lab.guest.symbols.dwarf import Function
from lab.guest.symbols.elf import Symbol

_FUNCTIONS, _ABSOLUTE = frozenset("tTwW"), frozenset("aA")
_BRANCH_TARGET = b"\xf3\x0f\x1e\xfa"  # endbr64
_CALL, _NOP = b"\xe8", b"\x0f\x1f\x44\x00\x00"
"""What every traced function begins with: a call of __fentry__, which is a nop of five bytes once the kernel has booted."""
_LENGTH = 5


def read(text: str) -> list[Symbol]:
    """By address, each up to the next one; without those of modules, which lie elsewhere each time.

    Empty where the kernel hides its addresses."""
    found = sorted(_lines(text))
    groups = [[*group] for _, group in groupby(found, lambda each: each[0])]
    ends = [group[0][0] for group in groups[1:]] + [groups[-1][0][0]] if groups else []
    return [
        Symbol(name, address, end - address, kind in _FUNCTIONS, kind.isupper())
        for group, end in zip(groups, ends, strict=True)
        for address, kind, name in group
    ]


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for line in text.splitlines():
        address, kind, name, *module = line.split()
        if not module and kind not in _ABSOLUTE and (number := int(address, 16)):
            yield number, kind, name


def functions(symbols: Sequence[Symbol], code: Callable[[int], bytes]) -> dict[str, Function]:
    """Those that have a name for themselves; `code` gives the first bytes at an address, as far as they are known."""
    many = Counter(symbol.name for symbol in symbols)
    own = (symbol for symbol in symbols if symbol.function and symbol.size and many[symbol.name] == 1)
    return {each.name: Function(each.address, each.size, _holds(code(each.address))) for each in own}


def _holds(code: bytes) -> int:
    """What stands before a function's own first instruction moves no argument."""
    begin = len(_BRANCH_TARGET) if code.startswith(_BRANCH_TARGET) else 0
    return begin + (_LENGTH if code[begin:].startswith((_CALL, _NOP)) else 0) + 1
