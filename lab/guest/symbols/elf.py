"""ELF files of x86-64: what is in one, and one made of sections and symbols. Pure. See elf(5)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap

_MAGIC, _CLASS_64, _LITTLE = b"\x7fELF", 2, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_EXEC, _X86_64 = 2, 62
_PROGBITS, _SYMTAB, _STRTAB, _NOBITS = 1, 2, 3, 8
_ALLOC = 2
_INSTRUCTION = 15
_LOCAL, _GLOBAL, _OBJECT, _FUNC = 0, 1, 1, 2


@dataclass(frozen=True, slots=True)
class Section:
    """`at` is where its bytes begin in the file, of which it has none where `stored` is false."""

    name: str
    flags: int
    address: int
    size: int
    at: int
    stored: bool

    @property
    def in_memory(self) -> bool:
        return bool(self.flags & _ALLOC)


@dataclass(frozen=True, slots=True)
class Symbol:
    """`public` is seen from other files."""

    name: str
    address: int
    size: int
    function: bool
    public: bool


def sections(content: bytes | mmap) -> list[Section]:
    """Raises ValueError for what is no ELF file of a 64-bit machine."""
    if len(content) < _HEADER.size or content[:6] != _MAGIC + bytes((_CLASS_64, _LITTLE)):
        raise ValueError("no ELF file of 64 bits")
    _, _, _, _, _, _, at, _, _, _, _, each, many, names_in = _HEADER.unpack_from(content)
    try:
        heads = [_SECTION.unpack_from(content, at + number * each) for number in range(many)]
    except struct.error:
        raise ValueError("an ELF file that is cut off") from None
    names = heads[names_in][4] if heads else 0
    return [_section(content, names, head) for head in heads]


def _section(content: bytes | mmap, names: int, head: tuple[int, ...]) -> Section:
    name, kind, flags, address, at, size = head[:6]
    begin = names + name
    text = content[begin : content.find(b"\0", begin)].decode(errors="replace")
    return Section(text, flags, address, size, at, kind not in (0, _NOBITS))


def named(content: bytes, name: str) -> bytes | None:
    """What is in the section of that name; None where there is none."""
    found = next((each for each in sections(content) if each.name == name and each.stored), None)
    return content[found.at : found.at + found.size] if found else None


def at(content: bytes, found: Sequence[Section], address: int) -> bytes:
    """The first bytes at an address of memory, as many as the longest instruction has; none where the file has none."""
    for each in found:
        if each.in_memory and each.stored and each.address <= address < each.address + each.size:
            begin = each.at + address - each.address
            return content[begin : begin + _INSTRUCTION]
    return b""


# Made


def file(memory: Sequence[Section], symbols: Iterable[Symbol], others: Mapping[str, bytes]) -> bytes:
    """An executable whose sections in memory have no bytes here, with a symbol table, and other sections by their names.

    A symbol that lies in none of the sections is left out."""
    table, strings, local = _symbols(memory, symbols)
    parts = [(name, _PROGBITS, data) for name, data in others.items()]
    parts += [(".symtab", _SYMTAB, table), (".strtab", _STRTAB, strings)]
    names = _Strings()
    heads, body = [bytes(_SECTION.size)], bytearray(_HEADER.size)
    for each in memory:
        heads.append(_SECTION.pack(names.at(each.name), _NOBITS, each.flags, each.address, _HEADER.size, each.size, 0, 0, 1, 0))
    for name, kind, data in parts:
        symtab = kind == _SYMTAB
        more = (len(heads) + 1, local, 8, _SYMBOL.size) if symtab else (0, 0, 1, 0)
        heads.append(_SECTION.pack(names.at(name), kind, 0, 0, len(body), len(data), *more))
        body += data
    own = names.at(".shstrtab")
    heads.append(_SECTION.pack(own, _STRTAB, 0, 0, len(body), len(names.data), 0, 0, 1, 0))
    body += names.data
    ident = (_MAGIC + bytes((_CLASS_64, _LITTLE, 1))).ljust(16, b"\0")
    many = len(heads)
    _HEADER.pack_into(body, 0, ident, _EXEC, _X86_64, 1, 0, 0, len(body), 0, _HEADER.size, 0, 0, _SECTION.size, many, many - 1)
    return bytes(body) + b"".join(heads)


class _Strings:
    """A table of strings, each ended by a zero byte; the first is empty."""

    def __init__(self) -> None:
        self.data = bytearray(1)

    def at(self, text: str) -> int:
        begin = len(self.data)
        self.data += text.encode() + b"\0"
        return begin


def _symbols(memory: Sequence[Section], symbols: Iterable[Symbol]) -> tuple[bytes, bytes, int]:
    """The table, its strings, and how many stand before the first public one, as the format wants it."""
    places = sorted((section.address, section.size, number) for number, section in enumerate(memory, 1))
    strings, tables = _Strings(), (bytearray(_SYMBOL.size), bytearray())
    for symbol, section in _placed(places, symbols):
        info = (_GLOBAL if symbol.public else _LOCAL) << 4 | (_FUNC if symbol.function else _OBJECT)
        tables[symbol.public].extend(_SYMBOL.pack(strings.at(symbol.name), info, 0, section, symbol.address, symbol.size))
    return bytes(tables[0] + tables[1]), bytes(strings.data), len(tables[0]) // _SYMBOL.size


def _placed(places: Sequence[tuple[int, int, int]], symbols: Iterable[Symbol]) -> Iterator[tuple[Symbol, int]]:
    """Each with the number of its section."""
    begins = [address for address, _, _ in places]
    for symbol in symbols:
        address, size, number = places[max(0, bisect_right(begins, symbol.address) - 1)]
        if address <= symbol.address < address + size:
            yield symbol, number
