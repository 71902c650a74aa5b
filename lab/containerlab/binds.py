"""Files of the host in a container: `SOURCE:TARGET[:MODE]`, writable unless it says otherwise."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from lab.containerlab.placed import Findings, Placed
from lab.topology.words import shown

_MODES: Mapping[str, str] = {"": ":rw", "rw": ":rw", "ro": ""}
_LABELS = ("z", "Z")  # of SELinux, which a bind that is nobody else's does not need


def binds(given: list[Placed], magic: Mapping[str, str], folder: Path | None, findings: Findings) -> list[Placed]:
    """The least specific first; of two with the same target the later one holds. `magic` is what special words stand for,
    `folder` the topology's."""
    found: dict[str, Placed] = {}
    for each in given:
        parts = each.value.split(":")
        if len(parts) not in (2, 3) or not all(parts[:2]):
            hint = "write SOURCE:TARGET or SOURCE:TARGET:ro; a volume is not covered"
            findings.wrong(each, f"{shown(each.value)} is no bind", hint)
            continue
        found.pop(parts[1], None)
        found[parts[1]] = each
    made = [_bind(each, magic, folder, findings) for each in found.values()]
    return [each for each in made if each]


def _bind(bind: Placed, magic: Mapping[str, str], folder: Path | None, findings: Findings) -> Placed | None:
    source, target, mode = (*bind.value.split(":"), "")[:3]
    words = [word for word in mode.split(",") if word not in _LABELS]
    if len(words) > 1 or (words and words[0] not in _MODES):
        findings.wrong(bind, f"the mode {shown(mode)} of a bind is not covered", "write ro, rw or nothing, which is rw")
        return None
    below = _below(replaced(source, magic), folder)
    if below is None:
        hint = "put the file beside the topology, and bind it from there: ./NAME:/TARGET"
        findings.wrong(bind, f"the bind of {shown(source)} is not covered: it lies outside the topology's folder", hint)
        return None
    return bind.like(f"{below}:{target}{_MODES[words[0] if words else '']}")


def _below(source: str, folder: Path | None) -> str | None:
    """The path as our own language has it, from the topology's folder on; None where it leads out of it."""
    if source.startswith("~"):
        return None
    path = posixpath.normpath(source)
    if path.startswith("/") and folder is not None:
        path = posixpath.relpath(path, folder)
    if path.startswith("/") or path.split("/")[0] == "..":
        return None
    return "." if path == "." else f"./{path}"


def replaced(text: str, magic: Mapping[str, str]) -> str:
    for word, value in magic.items():
        text = text.replace(word, value)
    return text
