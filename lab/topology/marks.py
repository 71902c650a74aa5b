"""Marks that a template carries through Jinja2, and that tell of rendered text which of its characters came from where.

A mark is private-use characters: what follows it, and the index in the template in two digits of 4096. Text gets one at
its start and on each of its lines, an expression one before it and one after its value. Marks can change what a template
computes (`m() | length`), so marked text serves only for places, and only where it is otherwise what was rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lab.topology.places import Piece

_TEXT, _EXPRESSION, _END = "\U0010f000", "\U0010f001", "\U0010f002"
_DIGIT, _BASE = 0xF0000, 0x1000
_MARK = re.compile("([\U0010f000\U0010f001])([\U000f0000-\U000f0fff])([\U000f0000-\U000f0fff])|\U0010f002")

_CAPTURING = frozenset(("macro", "call", "filter", "set"))  # what these enclose is a value, not output
_BEGINS = frozenset(("block_begin", "linestatement_begin"))
_ENDS = frozenset(("block_end", "linestatement_end"))

Token = tuple[int, str, str]  # line, kind, text: as jinja2.Environment.lex() yields them


def mark(source: str, tokens: Iterable[Token], captured: bool) -> str:
    """The template with marks in it; with `captured`, also in what macros, calls, filters and sets make values of."""
    captures = _Captures()
    parts: list[str] = []
    end = 0
    for _, kind, text in tokens:
        start = source.index(text, end)  # the lexer leaves out the white space that `{%-` strips
        end = start + len(text)
        captures.take(kind, text)
        plain = captures.depth and not captured
        parts.append(text if plain else _marked(kind, text, start))
    return "".join(parts)


def unmark(marked: str) -> tuple[str, list[Piece]]:
    """The text without its marks, and the pieces that it is made of."""
    text: list[str] = []
    pieces: list[Piece] = []
    within: list[int] = []
    at = end = 0
    for found in _MARK.finditer(marked):
        text.append(marked[end : found.start()])
        at += found.start() - end
        end = found.end()
        pieces.extend(_piece(found, at, within))
    text.append(marked[end:])
    return "".join(text), pieces


def _marked(kind: str, text: str, start: int) -> str:
    if kind == "variable_begin":
        return _write(_EXPRESSION, start) + text
    if kind == "variable_end":
        return text + _END
    if kind != "data":
        return text
    # None after the last line end: a line statement must stay at the beginning of its line.
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    starts = _running(start, lines)
    return "".join(_write(_TEXT, index) + line for index, line in zip(starts, lines, strict=True))


def _running(start: int, lines: Iterable[str]) -> Iterator[int]:
    for line in lines:
        yield start
        start += len(line)


def _write(what: str, index: int) -> str:
    high, low = divmod(index, _BASE)
    return what + chr(_DIGIT + high) + chr(_DIGIT + low)


def _piece(found: re.Match[str], at: int, within: list[int]) -> Iterator[Piece]:
    """What begins at a mark; `within` holds the expressions around it, outermost first."""
    if found[1] is None:
        if within:
            within.pop()
        if within:
            yield Piece(at, within[-1], True)
        return
    origin = (ord(found[2]) - _DIGIT) * _BASE + ord(found[3]) - _DIGIT
    if found[1] == _EXPRESSION:
        within.append(origin)
    yield Piece(at, origin, found[1] == _EXPRESSION)


@dataclass(slots=True)
class _Captures:
    """Counts, token by token, the capturing blocks that stand open."""

    depth: int = 0
    _words: list[str] | None = field(default=None)

    def take(self, kind: str, text: str) -> None:
        if kind in _BEGINS:
            self._words = []
        elif kind in _ENDS and self._words is not None:
            self._statement(self._words)
            self._words = None
        elif self._words is not None and kind in ("name", "operator"):
            self._words.append(text)

    def _statement(self, words: list[str]) -> None:
        tag = words[0] if words else ""
        if tag in _CAPTURING and not (tag == "set" and "=" in words):
            self.depth += 1
        elif tag.removeprefix("end") in _CAPTURING and tag.startswith("end"):
            self.depth = max(0, self.depth - 1)
