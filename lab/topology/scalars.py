"""What a scalar means: the core schema of YAML 1.2.2, chapter 10.3, and nothing more.

So `no`, `on`, `12:34:56`, `2024-01-01` and `1_000` are text, and `0777` is 777.
"""

from __future__ import annotations

import math
import re

Scalar = None | bool | int | float | str

LONGEST_NUMBER = 128  # characters; longer ones stay text, since Python converts long digits in quadratic time
_NULLS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_TRUTHS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INFINITIES = {sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")}
_WORDS: dict[str, Scalar] = {
    **_NULLS,
    **_TRUTHS,
    **_INFINITIES,
    **{"-" + word: -math.inf for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_DIGITS = frozenset("-+.0123456789")
_STARTS = _DIGITS | frozenset(word[:1] for word in _WORDS)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted, untagged) scalar."""
    if text[:1] not in _STARTS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[:1] in _DIGITS and len(text) <= LONGEST_NUMBER else text


def _number(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    return float(text) if _FLOAT.fullmatch(text) else text


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar under an explicit tag, such as "int" for `!!int`; ValueError where it is none of these."""
    if tag == "str":
        return text
    value = resolve(text)
    kinds = {"null": type(None), "bool": bool, "int": int, "float": float}
    if tag == "float" and type(value) is int:
        return float(value)
    if type(value) is not kinds[tag]:
        raise ValueError(text)
    return value
