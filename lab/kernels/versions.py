"""Debian's order of versions (deb-version(7)) as sort keys; pure."""

from __future__ import annotations

import re

Key = tuple[int, tuple[tuple[int, ...] | int, ...], tuple[tuple[int, ...] | int, ...]]
_PARTS = re.compile(r"(\D*)(\d*)")


def key(version: str) -> Key:
    """Greater for a later version."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch or 0), _parts(upstream), _parts(revision)


def at_least(version: str, wanted: str) -> bool:
    return key(version) >= key(wanted)


def _parts(text: str) -> tuple[tuple[int, ...] | int, ...]:
    """Words and numbers by turns; a word ends with 0, above which every character is but the tilde."""
    found: list[tuple[int, ...] | int] = []
    for word, number in _PARTS.findall(text):
        if word or number:
            found += [(*map(_rank, word), 0), int(number or 0)]
    return (*found, (0,))


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
