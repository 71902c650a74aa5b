"""The reader of YAML: what scalars mean, what is refused and where, and what hostile text costs."""

from __future__ import annotations

import math
import time

import pytest

from lab.topology.scalars import resolve, tagged
from lab.topology.yaml12 import DEEPEST, MOST_FAULTS, parse

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
        *[(text, True) for text in ("true", "True", "TRUE")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        *[(text, text) for text in ("yes", "No", "on", "OFF", "y", "n", "nULL", "tRUE")],
        ("0", 0),
        ("-17", -17),
        ("+3", 3),
        ("0777", 777),
        ("0o17", 15),
        ("0xFf", 255),
        *[(text, text) for text in ("-0x1", "0b1", "1_000", "0x", "0o8", "1,5", "--1", "+", "-", "１")],
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1e3", -1000.0),
        ("1E-2", 0.01),
        *[(text, math.inf) for text in (".inf", "+.Inf", ".INF")],
        ("-.inf", -math.inf),
        *[(text, text) for text in (".", "e3", "1e", "inf", "nan", ".iNf", "1.2.3", "+.nan")],
        *[(text, text) for text in ("12:34:56", "1:20", "02:00:00:00:00:01", "2024-01-01", "10.0.0.1", "10.0.0.0/8")],
        ("9" * 128, int("9" * 128)),
        ("9" * 129, "9" * 129),
    ],
)
def test_a_plain_scalar_means_what_the_core_schema_says(text: str, value: object) -> None:
    found = resolve(text)
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_a_float() -> None:
    assert all(math.isnan(float(resolve(text) or 0)) for text in (".nan", ".NaN", ".NAN"))


def test_a_tag_says_what_a_quoted_scalar_means() -> None:
    assert [tagged("int", "7"), tagged("float", "7"), tagged("str", "7"), tagged("null", "")] == [7, 7.0, "7", None]
    with pytest.raises(ValueError, match="seven"):
        tagged("int", "seven")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: {b: [1, '2', \"3\", null]}", {"a": {"b": [1, "2", "3", None]}}),
        ("7: x\n1.10: y\ntrue: z\n~: n\n", {"7": "x", "1.10": "y", "true": "z", "~": "n"}),
        ("'': x", {"": "x"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("- &x 1\n- &x 2\n- *x", [1, 2, 2]),
        ("- !!str 7\n- !!int '7'\n- !!float 7\n- !!map {}\n- !!seq []", ["7", 7, 7.0, {}, []]),
        ("%YAML 1.2\n--- !!str 7\n...\n", "7"),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
        ("b: &b {c: 1, d: 1}\na: {<<: *b, d: 2}", {"b": {"c": 1, "d": 1}, "a": {"c": 1, "d": 2}}),
        ("a: {<<: [{c: 1}, {c: 2, d: 2}], e: 3}", {"a": {"c": 1, "d": 2, "e": 3}}),
        ("'<<': 1", {"<<": 1}),
        ("---\na: 1\n...\n# the end\n", {"a": 1}),
    ],
)
def test_a_document_becomes_plain_data(text: str, value: object) -> None:
    parsed = parse(text)
    assert (parsed.value, parsed.faults) == (value, ())


INDENT = "is the indentation that of the entries around it?"
TAG = "remove it, or quote a text that begins with `!`"
KEY = 'quote a text that holds `: `, `{` or `[`; an empty key is ""'
NOTHING = ("the file describes nothing", "the least topology is `nodes: {a: {}}`")


@pytest.mark.parametrize(
    ("text", "index", "message", "hint"),
    [
        ("", 0, *NOTHING),
        ("# only this\n", 0, *NOTHING),
        ("---\n", 4, *NOTHING),
        ("a:\n\tb: 1", 3, "a tab cannot indent", "use spaces"),
        ("a: @b", 3, "a plain text cannot begin with `@`", "quote it"),
        ("a: `b", 3, "a plain text cannot begin with a backtick", "quote it"),
        (
            "a: b: c",
            4,
            "not YAML: mapping values are not allowed in this context",
            "a `:` where no key can end: is this line, or the one before it, indented as meant? "
            "a text that holds `: ` must be quoted",
        ),
        ("a:\n  b: 1\n c: 2", 11, "not YAML: did not find expected key", INDENT),
        ("- a\nb: 1", 4, "not YAML: did not find expected '-' indicator", INDENT),
        (
            "a: |\n x\ny",
            8,
            "not YAML: neither a key nor part of the value above",
            "a key is followed by `: ` on its line; a longer text is indented, or quoted",
        ),
        (
            "a: 'b\nc: 1",
            3,
            "this quoted text never ends",
            "close it; a quote inside single quotes is written twice",
        ),
        ("{a: 1}}", 6, "not YAML: did not find expected <document start>", "is there a closing bracket or a line too many?"),
        ("[a,,b]", 3, "not YAML: did not find expected node content", "is there a comma or a closing bracket too many?"),
        ("é: \x07", 3, "the control character U+0007 cannot stand in YAML", "remove it, or escape it"),
        ("a: \ud800", 3, "a lone surrogate is no character", None),
        (
            "a: 1\n---\nb: 1",
            5,
            "a second document begins here; a topology is one",
            "a `---` line ends the document with the parameters, and nothing else",
        ),
        ("? [a]\n: 1", 2, "a key must be a string", KEY),
        ("a: 1\n?\n: 1", 6, "a key must be a string", KEY),
        ("k: &k x\n*k : 1", 8, "a key must be a string", KEY),
        ("a: &one 1\nb: *on", 13, "*on refers to no anchor above it", "did you mean 'one'?"),
        ("a: &x {b: *x}", 10, "*x refers to a value that contains it", "a value cannot be part of itself"),
        ("a: {<<: 1}", 8, "`<<` takes a mapping or a list of mappings", "such as `<<: *common`"),
        ("a: {<<: [{}, 1]}", 8, "`<<` takes a mapping or a list of mappings", "such as `<<: *common`"),
        ("!!int x", 0, "'x' is no int, as its tag says", "remove the tag"),
        ("!!timestamp x", 0, "the tag '!!timestamp' means nothing here", TAG),
        ("!!python/object:os.system x", 0, "the tag '!!python/object:os.system' means nothing here", TAG),
        ("! x", 0, "the tag '!' means nothing here", TAG),
        ("!include {a: 1}", 0, "the tag '!include' means nothing here", TAG),
        ("!!map []", 0, "the tag '!!map' means nothing here", TAG),
        ("!!seq x", 0, "the tag '!!seq' means nothing here", TAG),
    ],
)
def test_what_is_wrong_is_said_with_where_and_what_to_write(text: str, index: int, message: str, hint: str | None) -> None:
    (fault,) = parse(text).faults
    assert (fault.index, fault.message, fault.hint) == (index, message, hint)


def test_a_key_given_twice_names_the_first() -> None:
    (fault,) = parse("7: a\nb: 1\n'7': c").faults
    assert (fault.index, fault.message, fault.see) == (10, "the key '7' is given twice", ("first at", 0))


def test_an_unclosed_bracket_names_where_it_opened() -> None:
    (fault,) = parse("a: [1, 2\nb: 3").faults
    assert fault.message == "not YAML: did not find expected ',' or ']' while parsing a flow sequence"
    assert (fault.hint, fault.see) == ("is a `]` or a comma missing?", ("which begins at", 3))


def test_all_faults_are_found_in_the_order_of_the_text() -> None:
    faults = parse("a: !x 1\na: 2\nb: *z\nc: [").faults
    assert [fault.index for fault in faults] == [3, 8, 16, 23]


def test_nodes_know_where_they_and_their_keys_begin() -> None:
    spot = parse('é: 1\n"b": [x, 𝄞, {c: y}]\n').spot
    assert isinstance(spot.branch, dict)
    assert [(each.key_at, each.at) for each in spot.branch.values()] == [(0, 3), (5, 10)]
    entries = spot.branch["b"].branch
    assert isinstance(entries, list)
    assert [each.at for each in entries] == [11, 14, 17]
    assert isinstance(entries[2].branch, dict)
    assert (entries[2].branch["c"].key_at, entries[2].branch["c"].at) == (18, 21)


def test_a_merged_key_stands_where_it_was_written() -> None:
    spot = parse("b: &b {c: 1}\na: {<<: *b, d: 2}").spot
    assert isinstance(spot.branch, dict)
    merged = spot.branch["a"].branch
    assert isinstance(merged, dict)
    assert (merged["c"].key_at, merged["c"].at) == (7, 10)


def test_an_alias_shares_its_target() -> None:
    value = parse("a: &x [1]\nb: *x").value
    assert value["a"] is value["b"]


def laughs(anchor: str, collect: str) -> str:
    lines = [f"a0: &a0 {anchor}"]
    lines += [f"a{i}: &a{i} " + collect % ", ".join([f"*a{i - 1}"] * 10) for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 8 * MIB, f"more than {DEEPEST} collections"),
        ("{" * 8 * MIB, f"more than {DEEPEST} collections"),
        ("{a: " * 2 * MIB, f"more than {DEEPEST} collections"),
        ("- " * 4 * MIB, f"more than {DEEPEST} collections"),
        ("? " * 4 * MIB, f"more than {DEEPEST} collections"),
        ("".join(" " * i + "a:\n" for i in range(3000)), f"more than {DEEPEST} collections"),
        ("&a [" * 2 * MIB, f"more than {DEEPEST} collections"),
        (laughs("x", "[%s]"), "more than 500000 values"),
        (laughs("{k: 1}", "{<<: [%s]}"), "more than 500000 values"),
        ("[" + "1," * 4 * MIB + "]", "more than 500000 values"),
        ("[&a x" + ",*a" * 2 * MIB + "]", "more than 500000 values"),
        ('"' + "a" * 8 * MIB, "this quoted text never ends"),
        (":" * 8 * MIB, "mapping values are not allowed"),
        ("\t" * 8 * MIB, "a tab cannot indent"),
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_is_refused_in_bounded_time(text: str, said: str) -> None:
    began = time.process_time()
    faults = parse(text).faults
    assert said in faults[-1].message
    assert time.process_time() - began < 5


def test_faults_without_end_are_not_all_collected() -> None:
    assert len(parse("{" + "a: 1, " * 1000 + "}").faults) == MOST_FAULTS


def test_a_thousand_nodes_are_read_in_a_fraction_of_a_second() -> None:
    link = '  - {{endpoints: ["h{0}:eth0", "lan"], addresses: {{h{0}: ["10.0.{1}.{2}/16", {{nodad: true}}]}}}}\n'
    nodes = "".join(f"  h{i}: {{}}\n" for i in range(1000))
    text = "nodes:\n" + nodes + "links:\n" + "".join(link.format(i, i // 250, i % 250) for i in range(1000))
    began = time.process_time()
    parsed = parse(text)
    assert len(parsed.value["links"]) == 1000
    assert time.process_time() - began < 0.5  # about 0.03 on an idle core
