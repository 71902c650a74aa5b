"""Which characters of a template each rendered one came from: the template is rendered again, with marks in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from lab.topology.marks import unmark
from lab.topology.places import Piece, Sheet
from lab.topology.sandbox import Marks, Renderer


def trace(sheet: Sheet, params: Mapping[str, object], rendered: str) -> Sequence[Piece]:
    """The pieces of `rendered`, or none if no marks leave the text as it is: some templates look at their own output."""
    for marks in get_args(Marks):
        with Renderer() as renderer:
            renderer.send(sheet.text[sheet.body :], params, marks)
            answer = renderer.answer()
        text, pieces = unmark(answer) if isinstance(answer, str) else ("", [])
        if text == rendered:
            return [Piece(piece.at, piece.origin + sheet.body, piece.expression) for piece in pieces]
    return ()
