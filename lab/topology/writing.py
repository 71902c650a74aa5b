"""Plain data -> YAML that this project reads back as the same data."""

from __future__ import annotations

import re
from typing import Any

import yaml

from lab.topology.scalars import resolve

_STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # what a plain or folded text could not carry as it stands


def write(data: object) -> str:
    """Dicts with str keys, lists and scalars, in their order; what has no collection within stands on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=10_000)


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    """Quoted where YAML 1.2 reads something else, as in `1e3`; PyYAML itself knows what YAML 1.1 does."""
    quoted = not isinstance(resolve(text), str) or _STEERS.search(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _text)
