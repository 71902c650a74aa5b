"""A kernel's types (BTF) and the addresses of its functions -> what gdb reads (DWARF 4), by sections. Pure.

Types become what they are in C. A function gets its prototype; an argument that comes in a register is told to be there as long
as that is certain: at the function's first instructions. The strings are BTF's own. There are no lines and no local variables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lab.substrate.btf import Type, Types

# Kinds of BTF (include/uapi/linux/btf.h).
_INT, _POINTER, _ARRAY, _STRUCT, _UNION, _ENUM, _FORWARD, _TYPEDEF, _VOLATILE, _CONST = range(1, 11)
_RESTRICT, _FUNC, _PROTO, _FLOAT, _TYPE_TAG, _ENUM64 = 11, 12, 13, 16, 18, 19
_SIGNED, _BOOL = 1, 4  # of an integer
# Tags, attributes and forms of DWARF 4, section 7.5.
_UNIT, _SUBPROGRAM, _PARAMETER, _MEMBER, _SUBRANGE, _BASE, _ENUMERATOR = 0x11, 0x2E, 0x05, 0x0D, 0x21, 0x24, 0x28
_ARRAY_TYPE, _ENUM_TYPE, _POINTER_TYPE, _ROUTINE, _VARIADIC = 0x01, 0x04, 0x0F, 0x15, 0x18
_QUALIFIERS = {_TYPEDEF: 0x16, _CONST: 0x26, _VOLATILE: 0x35, _RESTRICT: 0x37}
_COMPOSITES = {_STRUCT: 0x13, _UNION: 0x17}
_LOCATION, _NAME, _SIZE, _BITS, _LOW, _HIGH, _LANGUAGE, _VALUE = 0x02, 0x03, 0x0B, 0x0D, 0x11, 0x12, 0x13, 0x1C
_PROTOTYPED, _COUNT, _AT, _DECLARATION, _ENCODING, _TYPE, _AT_BIT = 0x27, 0x37, 0x38, 0x3C, 0x3E, 0x49, 0x6B
_ADDR, _DATA2, _DATA8, _DATA1, _SDATA, _STRP, _UDATA, _REF4, _OFFSET, _PRESENT = 1, 5, 7, 11, 13, 14, 15, 0x13, 0x17, 0x19
_C99 = 0x0C
_ATE_BOOL, _ATE_FLOAT, _ATE_SIGNED, _ATE_SIGNED_CHAR, _ATE_UNSIGNED, _ATE_UNSIGNED_CHAR = 2, 4, 5, 6, 7, 8
_REGISTERS = (5, 4, 1, 2, 8, 9)
"""rdi, rsi, rdx, rcx, r8 and r9 by DWARF's numbers: where x86-64's System V ABI passes the first six arguments."""
_REG0 = 0x50
_WIDTH = 8  # bytes of a register
_HEAD = struct.Struct("<IHIB")
_RANGE = struct.Struct("<QQHB")
_PACKED: Mapping[int, Callable[[int], bytes]] = {
    form: struct.Struct(f"<{code}").pack
    for form, code in ((_ADDR, "Q"), (_DATA2, "H"), (_DATA8, "Q"), (_DATA1, "B"), (_STRP, "I"), (_REF4, "I"), (_OFFSET, "I"))
}

Attribute = tuple[int, int, int]
"""Which, in which form, what."""


@dataclass(frozen=True, slots=True)
class Function:
    """`holds`: for how many bytes from its first one its arguments are where the caller put them."""

    address: int
    size: int
    holds: int


def sections(types: Types, functions: Mapping[str, Function]) -> dict[str, bytes]:
    """By name; `functions` has those whose name is theirs alone."""
    unit = _Unit(types, functions)
    for number, each in enumerate(unit.types, 1):
        unit.describe(number, each)
    return unit.done(types.strings)


class _Unit:
    """One compilation unit, entry by entry. A type that comes later is referred to by its number until all are there."""

    def __init__(self, types: Types, functions: Mapping[str, Function]) -> None:
        self.types: Sequence[Type] = list(types.each())
        self._functions = {name.encode(): function for name, function in functions.items()}
        self._strings = types.strings
        self._kinds: dict[tuple[int, ...], int] = {}
        self._info, self._lists = bytearray(_HEAD.size), bytearray()
        self._at: dict[int, int] = {}
        self._references: list[tuple[int, int]] = []
        self._low = min((each.address for each in functions.values()), default=0)
        high = max((each.address + each.size for each in functions.values()), default=0)
        self._entry(_UNIT, True, [(_LANGUAGE, _DATA2, _C99), (_LOW, _ADDR, self._low), (_HIGH, _DATA8, high - self._low)])

    def describe(self, number: int, it: Type) -> None:
        self._at[number] = len(self._info)
        describe = _DESCRIBED.get(it.kind)
        if describe:
            describe(self, it)

    def done(self, strings: bytes) -> dict[str, bytes]:
        self._close()
        for at, number in self._references:
            struct.pack_into("<I", self._info, at, self._at[number])
        _HEAD.pack_into(self._info, 0, len(self._info) - 4, 4, 0, 8)
        lists = bytes(self._lists)
        return {
            ".debug_info": bytes(self._info),
            ".debug_abbrev": self._abbreviations(),
            ".debug_str": strings,
            ".debug_loc": lists,
        }

    # Entries

    def _entry(self, tag: int, children: bool, attributes: Iterable[Attribute]) -> None:
        """One that has children is ended by `_close`."""
        given = list(attributes)
        kind = (tag, int(children), *(number for attribute in given for number in attribute[:2]))
        self._info += _unsigned(self._kinds.setdefault(kind, len(self._kinds) + 1))
        for name, form, value in given:
            if name == _TYPE:
                self._references.append((len(self._info), value))
            self._info += _encoded(form, value)

    def _close(self) -> None:
        self._info.append(0)

    def _abbreviations(self) -> bytes:
        found = bytearray()
        for (tag, children, *attributes), number in self._kinds.items():
            found += _unsigned(number) + _unsigned(tag) + bytes((children,))
            found += b"".join(map(_unsigned, attributes)) + b"\0\0"
        return bytes(found) + b"\0"

    def _type(self, number: int) -> list[Attribute]:
        """Nothing for void."""
        number = self._untagged(number)
        return [(_TYPE, _REF4, number)] if number else []

    def _untagged(self, number: int) -> int:
        """DWARF of this version has no name for a tag of a type."""
        while number and self.types[number - 1].kind == _TYPE_TAG:
            number = self.types[number - 1].of
        return number

    def _text(self, at: int) -> bytes:
        return self._strings[at : self._strings.index(b"\0", at)]

    # Types

    def integer(self, it: Type) -> None:
        said, character = it.more[0] >> 24, b"char" in self._text(it.name)
        if said & _BOOL:
            encoding = _ATE_BOOL
        elif said & _SIGNED:
            encoding = _ATE_SIGNED_CHAR if character else _ATE_SIGNED
        else:
            encoding = _ATE_UNSIGNED_CHAR if character else _ATE_UNSIGNED
        self._entry(_BASE, False, [*_name(it.name), (_SIZE, _DATA1, it.of), (_ENCODING, _DATA1, encoding)])

    def real(self, it: Type) -> None:
        self._entry(_BASE, False, [*_name(it.name), (_SIZE, _DATA1, it.of), (_ENCODING, _DATA1, _ATE_FLOAT)])

    def pointer(self, it: Type) -> None:
        self._entry(_POINTER_TYPE, False, [(_SIZE, _DATA1, 8), *self._type(it.of)])

    def qualified(self, it: Type) -> None:
        self._entry(_QUALIFIERS[it.kind], False, [*_name(it.name), *self._type(it.of)])

    def array(self, it: Type) -> None:
        element, index, count = it.more
        self._entry(_ARRAY_TYPE, True, self._type(element))
        self._entry(_SUBRANGE, False, [*self._type(index), *([(_COUNT, _UDATA, count)] if count else [])])
        self._close()

    def composite(self, it: Type) -> None:
        self._entry(_COMPOSITES[it.kind], bool(it.many), [*_name(it.name), (_SIZE, _UDATA, it.of)])
        for at in range(0, 3 * it.many, 3):
            self._entry(_MEMBER, False, self._member(it, *it.more[at : at + 3]))
        if it.many:
            self._close()

    def _member(self, it: Type, name: int, of: int, at: int) -> list[Attribute]:
        width, bits = (at >> 24, at & 0xFFFFFF) if it.flag else (0, at)
        place = [(_BITS, _DATA1, width), (_AT_BIT, _UDATA, bits)] if width else [(_AT, _UDATA, bits // 8)]
        return [*_name(name), *self._type(of), *place]

    def forward(self, it: Type) -> None:
        tag = _COMPOSITES[_UNION if it.flag else _STRUCT]
        self._entry(tag, False, [*_name(it.name), (_DECLARATION, _PRESENT, 0)])

    def enumeration(self, it: Type) -> None:
        wide = 3 if it.kind == _ENUM64 else 2
        self._entry(_ENUM_TYPE, bool(it.many), [*_name(it.name), (_SIZE, _DATA1, it.of)])
        for at in range(0, wide * it.many, wide):
            name, low, *high = it.more[at : at + wide]
            value = _value(low, high[0] if high else None, it.flag)
            self._entry(_ENUMERATOR, False, [*_name(name), (_VALUE, _SDATA, value)])
        if it.many:
            self._close()

    def prototype(self, it: Type) -> None:
        self._entry(_ROUTINE, True, [(_PROTOTYPED, _PRESENT, 0), *self._type(it.of)])
        for _, of in _pairs(it):
            self._entry(_PARAMETER if of else _VARIADIC, False, self._type(of))
        self._close()

    # Functions

    def function(self, it: Type) -> None:
        found = self._functions.get(self._text(it.name))
        if found is None:
            return
        proto = self.types[it.of - 1]
        place = [(_LOW, _ADDR, found.address), (_HIGH, _DATA8, found.size)]
        self._entry(_SUBPROGRAM, True, [*_name(it.name), *place, (_PROTOTYPED, _PRESENT, 0), *self._type(proto.of)])
        registers = list(_REGISTERS) if self._in_register(proto.of) else []
        for name, of in _pairs(proto):
            registers = registers if self._in_register(of) else []  # what is passed otherwise may take several of them
            at = [self._holds(found, registers.pop(0))] if registers else []
            self._entry(_PARAMETER if of else _VARIADIC, False, [*_name(name), *self._type(of), *at])
        self._close()

    def _in_register(self, number: int) -> bool:
        """Whether a value of that type comes, or is returned, in one register."""
        while number and self.types[number - 1].kind in (*_QUALIFIERS, _TYPE_TAG):
            number = self.types[number - 1].of
        if not number:
            return True
        it = self.types[number - 1]
        return it.kind == _POINTER or (it.kind in (_INT, _ENUM, _ENUM64) and it.of <= _WIDTH)

    def _holds(self, function: Function, register: int) -> Attribute:
        """A list with one range of addresses, in which the argument is in its register."""
        begin, at = function.address - self._low, len(self._lists)
        self._lists += _RANGE.pack(begin, begin + function.holds, 1, _REG0 + register) + bytes(16)
        return (_LOCATION, _OFFSET, at)


_DESCRIBED: Mapping[int, Callable[[_Unit, Type], None]] = {
    _INT: _Unit.integer,
    _FLOAT: _Unit.real,
    _POINTER: _Unit.pointer,
    _ARRAY: _Unit.array,
    _FORWARD: _Unit.forward,
    _ENUM: _Unit.enumeration,
    _ENUM64: _Unit.enumeration,
    _PROTO: _Unit.prototype,
    _FUNC: _Unit.function,
    **dict.fromkeys(_COMPOSITES, _Unit.composite),
    **dict.fromkeys(_QUALIFIERS, _Unit.qualified),
}


def _name(at: int) -> list[Attribute]:
    """Nothing for what has none."""
    return [(_NAME, _STRP, at)] if at else []


def _pairs(it: Type) -> Iterable[tuple[int, int]]:
    """Name and type of each parameter; the last of a variadic function has neither."""
    return ((it.more[at], it.more[at + 1]) for at in range(0, 2 * it.many, 2))


def _value(low: int, high: int | None, signed: bool) -> int:
    width, value = (32, low) if high is None else (64, high << 32 | low)
    return value - (1 << width) if signed and value >> (width - 1) else value


# Numbers


def _encoded(form: int, value: int) -> bytes:
    if pack := _PACKED.get(form):
        return pack(value)
    if form == _PRESENT:
        return b""
    return _unsigned(value) if form == _UDATA else _signed(value)


@lru_cache(maxsize=4096)
def _unsigned(value: int) -> bytes:
    """LEB128."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


@lru_cache(maxsize=4096)
def _signed(value: int) -> bytes:
    found = bytearray()
    while not -64 <= value < 64:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value & 0x7F))
