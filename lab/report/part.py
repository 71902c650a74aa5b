"""A run, or a part of one, as text that another process reads back: what a guest hands to who booted it.

What is read was written elsewhere, where code of a stranger may have run: it becomes values of the types of `results` and
nothing else, or PartError.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

from lab.drawing.picture import Picture
from lab.report.results import Run

_VERSION = 1


class PartError(ValueError):
    """The text is not what `dumps` wrote; says what is wrong."""


def dumps(run: Run) -> str:
    return json.dumps({"version": _VERSION, "run": dataclasses.asdict(run)}, ensure_ascii=False)


def loads(text: str) -> Run:
    """Raises PartError."""
    try:
        said = json.loads(text)
        if said["version"] != _VERSION:
            raise PartError(f"its version is {said['version']!r}")
        run = _read(Run, said["run"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PartError(f"it is no run: {error}") from error
    assert isinstance(run, Run)
    return run


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, localns={"Picture": Picture})


def _read(kind: Any, said: Any) -> Any:
    """A value of that type. Raises TypeError, ValueError, KeyError."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**{name: _read(hint, said[name]) for name, hint in _hints(kind).items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(said)
    if isinstance(kind, types.UnionType):
        return None if said is None else _read(typing.get_args(kind)[0], said)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_read(inner[0], each) for each in _checked(list, said))
    if origin is Mapping:
        return {_read(inner[0], key): _read(inner[1], value) for key, value in _checked(dict, said).items()}
    return float(_checked((int, float), said)) if kind is float else _checked(kind, said)


def _checked(kind: Any, said: Any) -> Any:
    if not isinstance(said, kind) or (isinstance(said, bool) and kind is not bool):
        raise TypeError(f"{said!r:.60} is not of type {kind}")
    return said
