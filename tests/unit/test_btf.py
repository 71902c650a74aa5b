"""A kernel's description of its types, made by hand: offsets are found through nested and anonymous members."""

from __future__ import annotations

import pytest
from support.btf import made

from lab.substrate.btf import Types


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


def test_each_type_as_it_is_written() -> None:
    types = Types(made().data())
    found = list(types.each())
    assert len(found) == 11
    packet, reason = found[5], found[7]
    assert types.strings[packet.name :].startswith(b"packet\0")
    assert (packet.of, packet.many, list(packet.more[1:3])) == (32, 3, [1, 0])
    assert list(reason.more[1::2]) == [2, 5]
