"""From an index in what was parsed to a line and column of the user's own file.

Without Jinja2 that is counting. With it, `Piece`s say which characters of the file the rendered ones came from; they
cost a second rendering, so they are asked for when the first place is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lab.errors import Place

EXCERPT = 120  # characters of a rendered line that a place shows


@dataclass(frozen=True, slots=True)
class Piece:
    """Rendered text from index `at` up to the next piece: the file's text from index `origin` on, character by character,
    or else the value of the expression that begins at `origin`."""

    at: int
    origin: int
    expression: bool


@dataclass(frozen=True)
class Sheet:
    """The user's file: `text` with line ends of one character, of which `body` is the index where the topology begins."""

    name: str
    text: str
    body: int = 0

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(end.end() for end in re.finditer("\n", self.text))]

    def place(self, index: int, rendered: str | None = None) -> Place:
        """The place of the character `index` of the file."""
        line, column = self.position(index)
        return Place(self.name, line, column, rendered)

    def position(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of the character `index` of the file."""
        line = bisect_right(self._starts, min(index, len(self.text)))
        return line, min(index, len(self.text)) - self._starts[line - 1] + 1

    def line(self, number: int) -> tuple[int, str]:
        """Where line `number` (from 1) begins, and its text."""
        start = self._starts[min(max(number, 1), len(self._starts)) - 1]
        end = self.text.find("\n", start)
        return start, self.text[start : end if end >= 0 else len(self.text)]


@dataclass(frozen=True)
class Plain:
    """Places in a text that was parsed as it stands in the file, from index `offset` on."""

    sheet: Sheet
    offset: int = 0

    def place(self, index: int) -> Place:
        return self.sheet.place(self.offset + index)


@dataclass(frozen=True)
class Rendered:
    """Places in what Jinja2 made of the file; `trace` gives the pieces in order, or none if they cannot be had."""

    sheet: Sheet
    text: str
    trace: Callable[[], Sequence[Piece]]

    @cached_property
    def _pieces(self) -> Sequence[Piece]:
        return self.trace() or (Piece(0, self.sheet.body, True),)

    def place(self, index: int) -> Place:
        """The exact place where no expression stands before it on its line, else the expression's and the excerpt."""
        number = max(bisect_right(self._pieces, index, key=lambda piece: piece.at) - 1, 0)
        origin = self._origin(number, index)
        before = self._expression_before(number, origin)
        if before is None:
            return self.sheet.place(origin)
        return self.sheet.place(before.origin, excerpt(self.text, index))

    def _origin(self, number: int, index: int) -> int:
        """The index in the file, kept on the line that the piece is of: a filter may have changed what it made."""
        piece = self._pieces[number]
        if piece.expression:
            return piece.origin
        start, line = self.sheet.line(self.sheet.position(piece.origin)[0])
        return min(piece.origin + index - piece.at, start + len(line))

    def _expression_before(self, number: int, origin: int) -> Piece | None:
        """The expression that the piece is, or the nearest before it whose value was rendered on the same line."""
        start, _ = self.sheet.line(self.sheet.position(origin)[0])
        begin = self.text.rfind("\n", 0, self._pieces[number].at) + 1
        for piece in reversed(self._pieces[: number + 1]):
            if piece.expression and start <= piece.origin <= origin:
                return piece
            if piece.at < begin:
                return None
        return None


def excerpt(text: str, index: int) -> str:
    """The line of `text` around `index`: no white space around it, no longer than EXCERPT, safe for a terminal."""
    start = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[start : end if end >= 0 else len(text)]
    left = len(line) - len(line.lstrip())
    if len(line.strip()) <= EXCERPT:
        return printable(line.strip())
    room = EXCERPT - 2  # for an ellipsis on either side
    first = max(left, min(index - start - room // 2, len(line.rstrip()) - room))
    cut = line[first : first + room]
    return ("…" if first > left else "") + printable(cut.strip()) + ("…" if line[first + room :].strip() else "")


def printable(text: str) -> str:
    """`text` with everything that is no visible character replaced, so that it cannot steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
