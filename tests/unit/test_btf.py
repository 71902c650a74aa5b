"""A kernel's description of its types, made by hand here: offsets are found through nested and anonymous members."""

from __future__ import annotations

import struct

import pytest

from lab.substrate.btf import Types

STRUCT, UNION, ENUM, TYPEDEF, POINTER, FUNC_PROTO, INT = 4, 5, 6, 8, 2, 13, 1


class Made:
    """Types in the order in which they are added; the first has the number 1."""

    def __init__(self) -> None:
        self.strings, self.types = b"\0", b""

    def text(self, name: str) -> int:
        if not name:
            return 0
        self.strings += name.encode() + b"\0"
        return len(self.strings) - len(name) - 1

    def add(self, name: str, kind: int, *more: tuple[int, ...], many: int = 0, flag: int = 0, size: int = 0) -> None:
        self.types += struct.pack("=III", self.text(name), flag << 31 | kind << 24 | many, size)
        self.types += b"".join(struct.pack(f"={len(each)}I", *each) for each in more)

    def data(self, magic: int = 0xEB9F) -> bytes:
        head = struct.pack("<HBBIIIII", magic, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return head + self.types + self.strings


def made() -> Made:
    """struct packet { int length; union { struct device *device; struct { int x; int low : 4; }; }; } and friends."""
    found = Made()
    found.add("int", INT, (32,), size=4)  # 1
    found.add("device", STRUCT, (found.text("index"), 1, 64), many=1, size=16)  # 2
    found.add("", POINTER, size=2)  # 3
    found.add("", STRUCT, (found.text("x"), 1, 0), (found.text("low"), 1, 4 << 24 | 32), many=2, flag=1, size=8)  # 4
    found.add("", UNION, (found.text("device"), 3, 0), (0, 4, 0), many=2, size=8)  # 5
    found.add("packet", STRUCT, (found.text("length"), 1, 0), (0, 5, 64), (found.text("inner"), 7, 128), many=3, size=32)  # 6
    found.add("wrapped", TYPEDEF, size=2)  # 7
    found.add("reason", ENUM, (found.text("FIRST"), 2), (found.text("SECOND"), 5), many=2, size=4)  # 8
    found.add("", FUNC_PROTO, (0, 3), (0, 1), (0, 8), many=3)  # 9
    found.add("", POINTER, size=9)  # 10
    found.add("traced", TYPEDEF, size=10)  # 11
    return found


def test_offsets_of_members() -> None:
    types = Types(made().data())
    assert types.offset("packet", "length") == 0
    assert types.offset("packet", "device") == 8
    assert types.offset("packet", "x") == 8
    assert types.offset("packet", "low") == 12  # a field of bits, whose width stands above its offset
    assert types.offset("packet", "inner", "index") == 24  # through a typedef
    assert types.offset("device", "index") == 8


def test_names_of_an_enum_and_parameters_of_a_function() -> None:
    types = Types(made().data())
    assert types.enum("reason") == {2: "FIRST", 5: "SECOND"}
    assert types.parameters("traced") == 3


@pytest.mark.parametrize("path", [("nothing", "x"), ("packet", "nothing"), ("packet", "length", "x"), ("reason", "FIRST")])
def test_what_is_not_there_is_a_key_error(path: tuple[str, ...]) -> None:
    with pytest.raises(KeyError):
        Types(made().data()).offset(*path)


def test_what_is_no_function_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Types(made().data()).parameters("wrapped")


@pytest.mark.parametrize("data", [b"", bytes(40), made().data(magic=0x9FEB)])
def test_what_is_no_description_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="BTF"):
        Types(data)


def test_a_kind_that_came_later_is_refused() -> None:
    found = made()
    found.add("new", 31)
    with pytest.raises(ValueError, match="later"):
        Types(found.data())
