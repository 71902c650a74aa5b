"""Whose language a topology file is written in, by its name or by its top-level keys."""

from __future__ import annotations

import re

from lab.topology.source import Source

_NAMES = re.compile(r"[.-]clab\.ya?ml\Z")
GO_TEMPLATE = ".gotmpl"
_TOPOLOGY = re.compile(r"^topology[ \t]*:[ \t]*(?:#.*)?$", re.MULTILINE)
_NODES = re.compile(r"^nodes[ \t]*:", re.MULTILINE)


def is_containerlab(source: Source) -> bool:
    """By name: *.clab.yml, *.clab.yaml, *-clab.yml, *.gotmpl. Any other file where a line `topology:` begins at its left
    edge, which our own language has no use for, and none `nodes:`."""
    if _NAMES.search(source.name) or source.name.endswith(GO_TEMPLATE):
        return True
    return bool(_TOPOLOGY.search(source.text)) and not _NODES.search(source.text)
