"""Where the running kernel keeps what in its structures: its own description of its types (BTF), read. Pure.

    types = Types(Path("/sys/kernel/btf/vmlinux").read_bytes())
    types.offset("sk_buff", "dev")      # in bytes; anonymous structures and unions are looked through

See Documentation/bpf/btf.rst. A kernel has some hundred thousand types, of which a few are decoded.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEADER = struct.Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC_PROTO, _ENUM64 = 4, 5, 6, 8, 13, 19
_LOOKED_THROUGH = frozenset({2, _TYPEDEF, 9, 10, 11, 18})
"""Pointer, typedef, volatile, const, restrict and type tag: each names one other type."""
# How many words follow the three of a type, by kind: a number, and one for each member (include/uapi/linux/btf.h).
_MORE = (0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0)
_EACH = (0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3)


@dataclass(frozen=True, slots=True)
class Type:
    """One of them as it is written: `name` is where its name stands among the strings, `of` its size in bytes or the number of
    another type, `more` what follows, each of its `many` members in as many words as its kind has."""

    name: int
    kind: int
    flag: bool
    many: int
    of: int
    more: memoryview[int]


class Types:
    """Raises ValueError where the description cannot be read, KeyError for what it has not."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
            raise ValueError("no description of types (BTF) in this machine's byte order")
        _, _, _, header, types_at, types, strings_at, strings = _HEADER.unpack_from(data)
        self._bytes = data[header + types_at : header + types_at + types]
        self._words = memoryview(self._bytes).cast("I")
        self.strings = data[header + strings_at : header + strings_at + strings]
        self._at = list(_positions(self._words))

    def offset(self, structure: str, *path: str) -> int:
        """In bytes, of a member, and of a member in that: `offset("sock", "__sk_common", "skc_net")`."""
        kind, bits = self._named(structure, _STRUCT), 0
        for name in path:
            found = self._member(self._plain(kind), name)
            if found is None:
                raise KeyError(f"{structure} has no {'.'.join(path)}")
            kind, bits = found[0], bits + found[1]
        return bits // 8

    def each(self) -> Iterator[Type]:
        """All of them, from number 1 on; 0 is void."""
        ends = [*self._at[2:], len(self._words)]
        for at, end in zip(self._at[1:], ends, strict=True):
            name, said, of = self._words[at : at + 3]
            yield Type(name, said >> 24 & 31, bool(said >> 31), said & 0xFFFF, of, self._words[at + 3 : end])

    def enum(self, name: str) -> Mapping[int, str]:
        """Value -> name of each."""
        number = self._named(name, _ENUM, _ENUM64)
        at, kind, many = self._head(number)
        wide = _EACH[kind]
        return {self._words[at + wide * each + 1]: self._text(self._words[at + wide * each]) for each in range(many)}

    def parameters(self, typedef: str) -> int:
        """How many the function has to which the typedef is a pointer."""
        number = self._plain(self._named(typedef, _TYPEDEF))
        _, kind, many = self._head(number)
        if kind != _FUNC_PROTO:
            raise KeyError(f"{typedef} is no function")
        return many

    def _named(self, name: str, *kinds: int) -> int:
        """The first type of that name which is of one of the kinds."""
        text = self.strings.find(b"\0" + name.encode() + b"\0") + 1
        wanted, begin = struct.pack("=I", text), 0
        while text and (found := self._bytes.find(wanted, begin)) >= 0:
            number = bisect_left(self._at, found // 4, 1)
            begins = found % 4 == 0 and number < len(self._at) and self._at[number] == found // 4
            if begins and self._words[found // 4 + 1] >> 24 & 31 in kinds:
                return number
            begin = found + 1
        raise KeyError(name)

    def _head(self, number: int) -> tuple[int, int, int]:
        """Where what follows begins, the kind, and how many members there are."""
        at = self._at[number]
        return at + 3, self._words[at + 1] >> 24 & 31, self._words[at + 1] & 0xFFFF

    def _plain(self, number: int) -> int:
        while self._head(number)[1] in _LOOKED_THROUGH:
            number = self._words[self._at[number] + 2]
        return number

    def _member(self, number: int, name: str) -> tuple[int, int] | None:
        """Its type, and its offset in bits."""
        at, kind, many = self._head(number)
        if kind not in (_STRUCT, _UNION):
            return None
        fields = self._words[self._at[number] + 1] >> 31  # offsets have a width of bits above them
        for each in range(at, at + 3 * many, 3):
            text, of, bits = self._words[each], self._words[each + 1], self._words[each + 2]
            bits = bits & 0xFFFFFF if fields else bits
            found = self._text(text)
            if found == name:
                return of, bits
            if not found and (inner := self._member(self._plain(of), name)):
                return inner[0], bits + inner[1]
        return None

    def _text(self, at: int) -> str:
        return self.strings[at : self.strings.index(b"\0", at)].decode()


def _positions(words: memoryview[int]) -> Iterator[int]:
    """Where each type begins, by its number; 0 is void."""
    yield 0
    at, end = 0, len(words)
    while at < end:
        yield at
        said = words[at + 1]
        kind = said >> 24 & 31
        if kind >= len(_MORE):
            raise ValueError(f"a kind of type that came later: {kind}")
        at += 3 + _MORE[kind] + _EACH[kind] * (said & 0xFFFF)
