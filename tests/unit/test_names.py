"""Questions to a name server and its answers, byte by byte."""

from __future__ import annotations

import contextlib

import pytest

from lab.observe.names import AAAA, A, NameServerError, addresses, query

QUESTION = b"\x05works\x03lab\x00\x00\x1c\x00\x01"
HEAD = b"\x12\x34\x85\x80\x00\x01\x00\x03\x00\x00\x00\x00"
ALIAS = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x00\x00\x07\x04real\xc0\x12"
FIRST = b"\xc0\x27\x00\x1c\x00\x01\x00\x00\x00\x00\x00\x10" + bytes.fromhex("20010db8000300000000000000000010")
SECOND = b"\x04real\x03lab\x00\x00\x1c\x00\x01\x00\x00\x00\x00\x00\x10" + bytes.fromhex("20010db8000300000000000000000011")
ANSWER = HEAD + QUESTION + ALIAS + FIRST + SECOND


def flagged(flags: int) -> bytes:
    return ANSWER[:2] + flags.to_bytes(2, "big") + ANSWER[4:]


def test_a_question_is_one_of_class_in_that_wants_recursion() -> None:
    assert query(0x1234, "works.lab", AAAA) == b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + QUESTION
    assert query(0x1234, "works.lab.", AAAA) == query(0x1234, "works.lab", AAAA)


@pytest.mark.parametrize("name", ["", "a..b", ".lab", "x" * 64, "bücher.lab"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        query(1, name, A)


def test_the_addresses_of_an_answer_come_in_its_order_behind_aliases_and_compressed_names() -> None:
    assert list(addresses(ANSWER, AAAA)) == ["2001:db8:3::10", "2001:db8:3::11"]


def test_addresses_of_another_kind_are_left_out() -> None:
    assert list(addresses(ANSWER, A)) == []


def test_no_such_name_has_no_addresses() -> None:
    assert list(addresses(b"\x12\x34\x85\x83\x00\x01\x00\x00\x00\x00\x00\x00" + QUESTION, AAAA)) == []


@pytest.mark.parametrize("flags", [0x0100, 0x8380, 0x8182, 0x8185], ids=["question", "truncated", "failure", "refused"])
def test_an_error_is_told(flags: int) -> None:
    with pytest.raises(NameServerError, match=f"{flags:#06x}"):
        list(addresses(flagged(flags), AAAA))


def test_an_answer_that_is_cut_off_anywhere_is_told_and_nothing_else_happens() -> None:
    for length in range(len(ANSWER)):
        with pytest.raises(NameServerError):
            list(addresses(ANSWER[:length], AAAA))


def test_an_answer_with_any_byte_changed_is_read_or_told() -> None:
    for at in range(len(ANSWER)):
        for value in (0, 0x3F, 0xC0, 0xFF):
            with contextlib.suppress(NameServerError):
                list(addresses(ANSWER[:at] + bytes([value]) + ANSWER[at + 1 :], AAAA))
