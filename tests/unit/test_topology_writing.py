"""Plain data written as YAML: it is read back as it was."""

from __future__ import annotations

import pytest

from lab.topology.writing import write
from lab.topology.yaml12 import parse

TEXTS = (
    *(
        "",
        " ",
        "~",
        "null",
        "true",
        "yes",
        "on",
        "No",
        "1",
        "007",
        "0o7",
        "0x1f",
        "1_000",
        "1e3",
        "1.",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
    ),
    *(
        "12:34:56",
        "2024-01-01",
        "=",
        "<<",
        "*a",
        "&a",
        "!a",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "#a",
        "a:",
        "%a",
        "@a",
        "`a",
        "[a",
        "{a}",
    ),
    *(
        "a\nb",
        "\n",
        "a\n",
        " a ",
        "a\tb",
        "\x07",
        "\x85",
        "\u2028",
        "\ufeff",
        "ü",
        "🙂",
        "'",
        '"',
        "\\",
        "a, b",
        "---",
        "...",
        "x" * 500,
    ),
)


def read(text: str) -> object:
    parsed = parse(text)
    assert not parsed.faults, text
    return parsed.value


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_any_text_stays_that_text_as_value_key_and_item(text: str) -> None:
    data = {"a": text, text: 1, "list": [text, [text], {"b": text}]}
    assert read(write(data)) == data


@pytest.mark.parametrize("value", [None, True, False, 0, -7, 10**20, 1.5, [], {}, [[]], {"a": {}}])
def test_other_values_stay_what_they_are(value: object) -> None:
    back = read(write({"a": value}))
    assert back == {"a": value}
    assert repr(back) == repr({"a": value})


def test_order_is_kept_and_what_stands_twice_is_written_twice() -> None:
    twice = {"z": 1, "a": 2}
    text = write({"y": twice, "b": twice})
    assert text == "y: {z: 1, a: 2}\nb: {z: 1, a: 2}\n"
