"""A command as containerlab takes it, one text, into words: no shell reads it.

Quotes and backslashes are those of the library google/shlex, which differ from Python's: within double quotes a backslash
takes any character as it is, and a `#` at the beginning of a word begins a comment.
"""

from __future__ import annotations

import re

_BETWEEN = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART = re.compile(
    r'"(?P<double>(?:\\.|[^"\\])*)"|\'(?P<single>[^\']*)\'|\\(?P<escaped>.)|(?P<plain>[^ \t\r\n"\'\\]+)', re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def words(text: str) -> list[str]:
    """ValueError, in words, where a quote or a backslash has no end."""
    done: list[str] = []
    at = _end(_BETWEEN.match(text))
    while at < len(text):
        word, at = _word(text, at)
        done.append(word)
        at = _end(_BETWEEN.match(text, at))
    return done


def _word(text: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(text) and text[at] not in " \t\r\n":
        found = _PART.match(text, at)
        if not found:
            raise ValueError("a backslash at the end" if text[at] == "\\" else f"the quote {text[at]} has no end")
        double = found["double"]
        parts.append(found[0] if found["plain"] else _ESCAPED.sub(r"\1", double) if double else _inner(found))
        at = found.end()
    return "".join(parts), at


def _inner(found: re.Match[str]) -> str:
    return found["single"] or found["escaped"] or ""


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found else 0
