"""A kernel's description of its types (BTF), made by hand."""

from __future__ import annotations

import struct

STRUCT, UNION, ENUM, TYPEDEF, POINTER, FUNC, FUNC_PROTO, INT = 4, 5, 6, 8, 2, 12, 13, 1


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
