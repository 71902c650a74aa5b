"""Files of containerlab's as text: how they are known, their variables, their scalars as written, their commands as words."""

from __future__ import annotations

import pytest

from lab.containerlab.commands import words
from lab.containerlab.placed import Placed, as_written
from lab.containerlab.recognise import is_containerlab
from lab.containerlab.variables import expand
from lab.topology.source import Source
from lab.topology.yaml12 import parse

VALUES = {"SET": "value", "EMPTY": "", "OTHER": "another"}


@pytest.mark.parametrize("name", ["x.clab.yml", "x.clab.yaml", "x-clab.yml", "/a/b/x.clab.yml", "x.clab.gotmpl"])
def test_a_file_is_containerlabs_by_its_name(name: str) -> None:
    assert is_containerlab(Source(name, "nodes: {a: }\n"))


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("name: x\ntopology:\n  nodes: {}\n", True),
        ("topology: # of three\n  nodes: {}\n", True),
        ("name: x\nnodes: {a: }\n", False),
        ("name: x\n# topology:\nnodes: {a: }\n", False),
        ("name: x\ntopology:\nnodes: {a: }\n", False),
        ("params: {}\n---\nname: x\ndescription: |\n  topology:\nlinks:\n", False),
        ("topology: ring\n", False),
    ],
)
def test_any_other_file_is_by_the_key_that_our_own_language_has_no_use_for(text: str, theirs: bool) -> None:
    assert is_containerlab(Source("lab.yaml", text)) is theirs


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a ${SET} b", "a value b"),
        ("a $SET-b", "a value-b"),
        ("${SET}${OTHER}", "valueanother"),
        ("$NONE ${NONE}", "$NONE ${NONE}"),
        ("$EMPTY ${EMPTY}", "$EMPTY ${EMPTY}"),
        ("${NONE:-x} ${EMPTY:-x} ${SET:-x}", "x x value"),
        ("${NONE:=x} ${EMPTY:=x} ${SET:=x}", "x x value"),
        ("${NONE-x} ${EMPTY-x} ${SET-x}", "x  value"),
        ("${NONE=x} ${EMPTY=x} ${SET=x}", "x  value"),
        ("${NONE+x} ${EMPTY+x} ${SET+x}", " x x"),
        ("${NONE:+x} ${EMPTY:+x} ${SET:+x}", "  x"),
        ("${NONE:-$OTHER} ${NONE:-$NOT}", "another $NOT"),
        ("${NONE:=3.19:a-b}", "3.19:a-b"),
        ("${NONE:-}", ""),
        ("$$SET $${SET} $$$$", "$SET ${SET} $$"),
        ("$1 ${1} ${#SET} ${} $_ $ ${", "$1 ${1} ${#SET} ${} $_ $ ${"),
        ("a\n# ${SET\n$SET", "a\n# ${SET\nvalue"),
    ],
)
def test_variables_are_replaced_as_containerlab_does(text: str, expanded: str) -> None:
    found = expand(text, VALUES)
    assert (found.text, found.faults) == (expanded, [])


@pytest.mark.parametrize(
    "text", ["${SET", "${SET\n}", "${SET%.*}", "${SET:3}", "${NONE:-${SET}}", "${NONE:-a$SET}", "${SET/a/b}"]
)
def test_what_only_a_shell_knows_is_named_and_how_it_is_kept_for_one(text: str) -> None:
    (fault,) = expand(f"ab {text}", VALUES).faults
    assert fault.index == 3
    assert "begins no variable" in fault.message
    assert "$${" in (fault.hint or "")


def test_a_value_that_no_file_could_hold_is_named() -> None:
    (fault,) = expand("$X", {"X": "\U000f0000"}).faults
    assert fault.message == "the value of the variable X holds a character that no file may"


@pytest.mark.parametrize(("text", "faults"), [("$$" * 2_000_000, 1), ("${X" * 2_000_000, 100), ("$BIG\n" * 100, 1)])
def test_what_no_honest_file_holds_is_given_up_early(text: str, faults: int) -> None:
    found = expand(text, {"BIG": "x" * 1_000_000})
    assert len(found.faults) == faults
    assert len(found.pieces) < 300_000


def test_every_variable_is_known_by_name_once() -> None:
    assert expand("$SET ${NONE:-$OTHER} $SET", VALUES).names == ["SET", "NONE", "OTHER"]


def test_pieces_tell_where_each_character_came_from() -> None:
    text = "a: ${SET}, b\nc: $OTHER\n"
    found = expand(text, VALUES)
    assert [(found.text[piece.at :][:2], piece.origin, piece.expression) for piece in found.pieces] == [
        ("a:", 0, False),
        ("va", 3, True),
        (", ", 9, False),
        ("c:", 13, False),
        ("an", 16, True),
        ("\n", 22, False),
    ]
    assert expand("plain", VALUES).pieces == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1.10", {"a": "1.10"}),
        ("a: 007", {"a": "007"}),
        ("a: True", {"a": "True"}),
        ("a: on", {"a": "on"}),
        ("a: 1e3 # text", {"a": "1e3"}),
        ("a: [0x10, 1.0,2.50]", {"a": ["0x10", "1.0", "2.50"]}),
        ("{a: 1.10}", {"a": "1.10"}),
        ("a: &v 1.10", {"a": "1.10"}),
        ("a: &v 1.5\nb: *v", {"a": "1.5", "b": "1.5"}),
        ("a: &v true\nb: *v", {"a": "true", "b": "true"}),
        ('a: "1.10"', {"a": "1.10"}),
        ("a: !!int 12", {"a": "12"}),
        ("a: .nan", {"a": ".nan"}),
        ("a:\nb: ~", {"a": None, "b": None}),
        ("a: {b: [{c: 5}]}", {"a": {"b": [{"c": "5"}]}}),
    ],
)
def test_a_scalar_is_the_text_that_was_written(text: str, value: object) -> None:
    parsed = parse(text)
    assert not parsed.faults
    assert as_written(Placed(parsed.value, parsed.spot), text).value == value


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("ip addr add 10.0.0.1/24 dev eth1", ["ip", "addr", "add", "10.0.0.1/24", "dev", "eth1"]),
        ("ash -c 'echo \"foo bar\" > /tmp/x'", ["ash", "-c", 'echo "foo bar" > /tmp/x']),
        ('sh -c "echo $X && sleep 9"', ["sh", "-c", "echo $X && sleep 9"]),
        (' a\t"b  c"d\n e ', ["a", "b  cd", "e"]),
        ("a \"\" ''", ["a", "", ""]),
        (r'a "\$x \" \n \\" b\ c', ["a", r'$x " n ' + "\\", "b c"]),
        (r"'a\b'", [r"a\b"]),
        ("a # b 'c\n d#e #", ["a", "d#e"]),
        ("ash -c '\na &&\nb'\n", ["ash", "-c", "\na &&\nb"]),
        ("", []),
        ("# nothing", []),
    ],
)
def test_a_command_is_split_into_words_without_a_shell(text: str, split: list[str]) -> None:
    assert words(text) == split


@pytest.mark.parametrize(
    ("text", "said"),
    [("a 'b", "the quote ' has no end"), ('a "b\\"', 'the quote " has no end'), ("a\\", "a backslash at the end")],
)
def test_a_command_that_has_no_end_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        words(text)
