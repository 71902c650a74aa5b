"""Has the agent run one of our own modules in its guest, and brings back the JSON object that it leaves."""

from __future__ import annotations

import time
from typing import Any

from lab.guest.frames import Frame, Kind, of_json
from lab.guest.session import Session, TamperedError, bare

_ANSWER = "/run/answer.json"
_NUMBER = 1
_WITHIN = 120.0  # seconds
_LARGEST = 8 << 20  # bytes


def ask(session: Session, module: str, *words: str) -> dict[str, Any]:
    """The module's `main` gets the path of the answer and `words` as arguments. Raises SilentError, GoneError."""
    said = {"module": module, "streams": ["null", "null", "pipe"], "results": [_ANSWER]}
    session.say(of_json(Kind.JOB, _NUMBER, {**bare([module, _ANSWER, *words]), **said}))
    answer, errors, deadline = bytearray(), bytearray(), time.monotonic() + _WITHIN
    while (frame := session.heard(deadline)).kind is not Kind.EXIT:
        if len(answer) + len(errors) > _LARGEST:
            raise TamperedError(f"{module} said too much")
        if frame.kind is Kind.FILE:
            answer += _part(frame)
        elif frame.kind is Kind.STDERR:
            errors += frame.payload
    try:
        return Frame(Kind.EXIT, payload=bytes(answer)).json()
    except ValueError as error:
        raise TamperedError(f"{module} failed: {errors.decode(errors='replace')}") from error


def _part(frame: Frame) -> bytes:
    try:
        return frame.file()[1]
    except ValueError as error:
        raise TamperedError(f"it said what is no file: {error}") from error
