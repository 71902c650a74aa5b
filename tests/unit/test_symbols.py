"""What gdb is told of a guest's kernel, before anything runs: symbols with their sizes, and ELF files read and made."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from support.btf import made

from lab.guest.symbols import dwarf, elf, kallsyms
from lab.guest.symbols.dwarf import Function
from lab.guest.symbols.elf import Section, Symbol
from lab.substrate.btf import Types

KALLSYMS = """\
0000000000001000 A per_cpu
ffffffff81000000 T _text
ffffffff81000000 T startup
ffffffff81000040 t twice
ffffffff81000050 t twice
ffffffff81000060 T last
ffffffffc0001000 t elsewhere\t[module]
ffffffff81000080 D data
"""
TEXT = Section(".text", 6, 0xFFFFFFFF81000000, 0x100, 0, stored=False)


def test_symbols_reach_to_the_next_one_and_those_of_modules_are_left_out() -> None:
    found = {(symbol.name, symbol.address & 0xFF, symbol.size) for symbol in kallsyms.read(KALLSYMS)}
    assert found == {
        ("_text", 0, 64),
        ("startup", 0, 64),
        ("twice", 64, 16),
        ("twice", 80, 16),
        ("last", 96, 32),
        ("data", 128, 0),
    }


def test_a_kernel_that_hides_its_addresses_has_no_symbols() -> None:
    assert kallsyms.read("0000000000000000 T _text\n0000000000000000 T startup\n") == []


@pytest.mark.parametrize(
    ("code", "holds"),
    [
        (b"\x53", 1),
        (b"\xe8\0\0\0\0\x53", 6),
        (b"\x0f\x1f\x44\0\0\x53", 6),
        (b"\xf3\x0f\x1e\xfa\x53", 5),
        (b"\xf3\x0f\x1e\xfa\xe8\0\0\0\0\x53", 10),
        (b"", 1),
    ],
)
def test_arguments_are_where_they_came_until_a_functions_own_first_instruction(code: bytes, holds: int) -> None:
    found = kallsyms.functions(kallsyms.read(KALLSYMS), lambda _: code)
    assert found.keys() == {"_text", "startup", "last"}  # of two of one name nobody knows which is described
    assert found["last"] == Function(0xFFFFFFFF81000060, 32, holds)


def test_what_is_made_is_read_back_and_public_symbols_stand_behind() -> None:
    symbols = [Symbol("open", TEXT.address, 4, True, True), Symbol("own", TEXT.address + 4, 4, False, False)]
    outside = Symbol("outside", TEXT.address + 0x100, 4, True, True)
    content = elf.file([TEXT], [*symbols, outside], {".debug_x": b"more"})
    read = {section.name: section for section in elf.sections(content)}
    assert (read[".text"].address, read[".text"].size, read[".text"].in_memory) == (TEXT.address, 0x100, True)
    assert elf.named(content, ".debug_x") == b"more"
    assert elf.named(content, ".text") is None
    table, strings = elf.named(content, ".symtab"), elf.named(content, ".strtab")
    assert table and strings
    rows = [struct.unpack_from("<IBBHQQ", table, at) for at in range(0, len(table), 24)]
    names = [strings[row[0] : strings.index(b"\0", row[0])] for row in rows]
    assert names == [b"", b"own", b"open"]
    assert [row[1] for row in rows] == [0, 1, 1 << 4 | 2]


def test_the_bytes_at_an_address_of_a_program() -> None:
    """This interpreter's own."""
    content = Path(sys.executable).resolve().read_bytes()
    sections = elf.sections(content)
    text = next(section for section in sections if section.name == ".text")
    assert elf.at(content, sections, text.address + 5) == content[text.at + 5 : text.at + 20]
    assert elf.at(content, sections, 1) == b""


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh" + bytes(99), b"\x7fELF\x01\x01" + bytes(99)])
def test_what_is_no_program_of_64_bits_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        elf.sections(content)


def test_a_file_that_is_cut_off_is_refused() -> None:
    content = elf.file([TEXT], [], {})
    with pytest.raises(ValueError, match="cut off"):
        elf.sections(content[:-10])


def test_types_are_told_with_the_strings_that_they_came_with() -> None:
    types = Types(made().data())
    found = dwarf.sections(types, {})
    assert found[".debug_str"] == types.strings
    assert struct.unpack_from("<IHIB", found[".debug_info"])[:2] == (len(found[".debug_info"]) - 4, 4)
