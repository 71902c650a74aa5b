"""What a stranger's guest prints -> what a terminal can be given: text, colours, and movements of the cursor. Pure.

A terminal obeys what it is sent: it changes its title and the clipboard, answers questions as if the user typed, or switches
what its keys mean. Of the control functions (ECMA-48) only those are passed that show something; of others the text is left.
"""

from __future__ import annotations

import codecs
import re

_LONGEST = 64  # characters of a control sequence; a longer one is none of ours
_SHOWS = "mKJABCDEFGHf"
"""Final characters: colours, erasing, moving."""
_CURSOR = ("\x1b[?25h", "\x1b[?25l")
_PIECE = re.compile(r"([^\x00-\x1f\x7f-\x9f]+|[\t\n\r\x08])|(\x1b\[[0-?]*[ -/]*[@-~])|\x1b[^\[]|.", re.DOTALL)
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*)?\Z")


class Harmless:
    """Of one stream, bytes as they come."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> bytes:
        """What has only begun waits for its end."""
        text = self._rest + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        self._rest = begun.group() if begun and len(begun.group()) <= _LONGEST else ""
        return "".join(map(_passed, _PIECE.finditer(text, 0, len(text) - len(self._rest)))).encode()


def line(text: str) -> str:
    """Of one line, to be quoted."""
    return "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in text)


def _passed(piece: re.Match[str]) -> str:
    text, sequence = piece.groups()
    if sequence and sequence not in _CURSOR:
        plain = sequence[-1] in _SHOWS and sequence[2] not in "<=>?" and " " not in sequence
        return sequence if plain else ""
    return text or sequence or ""
