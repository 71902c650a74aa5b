"""Plain data -> `Topology`: pydantic's findings told in the words of this project, then the invariants."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lab.model import file as written
from lab.model.checks import check
from lab.model.resolve import did_you_mean, resolve
from lab.model.topology import Fault, Faults, Found, Path, Topology


def parse(data: object) -> Topology:
    """`data` as a YAML parser gives it. Raises `Faults`, all of them, or the first hundred."""
    if not isinstance(data, dict):
        raise Faults([Fault((), "a topology is a mapping", "begin with name: and nodes:")])
    faults = Found()
    file = _file(data, faults) or _file(_without(data, faults), Found())
    if file is not None:
        of_form = tuple(faults)
        topology = resolve(file, faults)
        faults.take(check(topology, whole=not faults))
        if not faults:
            return topology
        raise Faults(_without_echoes(faults, of_form))
    raise Faults(faults)


def _without_echoes(faults: list[Fault], of_form: tuple[Fault, ...]) -> list[Fault]:
    """Where a key is wrong, that its mapping lacks it is no news."""
    around = {each.path[:end] for each in of_form for end in range(len(each.path) + 1)}
    return [*of_form, *(each for each in faults[len(of_form) :] if each.path not in around)]


def _file(data: object, faults: Found) -> written.File | None:
    try:
        return written.File.model_validate(data)
    except ValidationError as error:
        faults.take(told(error, data))
        return None


def told(error: ValidationError, data: object, model: type[BaseModel] = written.File) -> Iterator[Fault]:
    """What pydantic found in `data`, which was meant for `model`, in the words of this project."""
    return (_fault(each, data, model) for each in error.errors(include_url=False))


def _without(data: object, faults: list[Fault]) -> object:
    """`data` less what is wrong with it, so that the invariants of the rest can be told in the same breath.

    Nothing is left of it where a node or an end of a link would be missing: every complaint that followed would be hollow.
    """
    rest = copy.deepcopy(data)
    for fault in faults:
        if len(fault.path) < 3 or fault.path[2] == "endpoints":
            return None
        holder: Any = rest
        for part in fault.path[:-1]:
            holder = holder[part] if not isinstance(holder, dict) else holder.get(part, {})
        if isinstance(holder, dict):
            holder.pop(fault.path[-1], None)
    return rest


def _fault(error: ErrorDetails, data: object, model: type[BaseModel]) -> Fault:
    path, kind = _path(error["loc"], data), error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        return Fault(path, f"unknown key {path[-1]!r}", _known_key(model, error["loc"], path), key=True)
    if kind == "missing":
        return Fault(_path(error["loc"][:-1], data), f"{_name(error['loc'][-1])} is missing", "add it")
    if kind == "lab":
        return Fault(path, context["message"], context.get("hint"), key=error["loc"][-1:] == ("[key]",))
    if kind == "union_tag_invalid":
        hint = did_you_mean(str(context["tag"]), written.INTERFACE_KINDS)
        said = f"write one of {', '.join(written.INTERFACE_KINDS)}"
        return Fault((*path, "kind"), f"unknown kind of interface {context['tag']!r}", hint or said)
    if kind == "literal_error":
        return Fault(path, f"{error['input']!r} is not one of {context['expected']}", _nearest_literal(error))
    return Fault(path, f"{_shown(error['input'])}: {_IN_OUR_WORDS.get(kind) or error['msg'].lower()}")


_IN_OUR_WORDS = {
    "dict_type": "a mapping is wanted here",
    "model_type": "a mapping is wanted here",
    "too_long": "a link has two ends",  # the one list of the language with a fixed length
}


def _nearest_literal(error: ErrorDetails) -> str | None:
    expected = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")
    return did_you_mean(str(error["input"]), [word.strip("'") for word in expected])


def _name(part: str | int) -> str:
    return f"item {part + 1}" if isinstance(part, int) else f"key {part!r}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


_TAGGED = {"interfaces": written.INTERFACE_KINDS, "services": tuple(written.SERVICES)}
_DEEP = 4  # nodes.NODE.interfaces.NAME, nodes.NODE.services.NAME and defaults.nodes.services.NAME


def _path(loc: tuple[str | int, ...], data: object) -> Path:
    """pydantic's location without what it adds: tags of unions, [key] behind a key, parts of a short form spelt out,
    among them the 0 of a lone item without its list."""
    path: list[str | int] = []
    tagged = False
    for part in loc:
        if len(path) == _DEEP and part in _TAGGED.get(str(path[2]), ()) and not tagged:
            tagged = True
        elif isinstance(data, dict) and isinstance(part, str) and part != "[key]":
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            path.append(part)
            data = data[part] if part < len(data) else None
    return tuple(path)


def _known_key(model: type[BaseModel], loc: tuple[str | int, ...], path: Path) -> str | None:
    keys = _keys_at(model, loc[:-1])
    word = str(path[-1])
    known = ", ".join(sorted(keys))
    return did_you_mean(word, keys) or (f"known here: {known}" if known else None)


_TAGS: Mapping[str, object] = written._BY_KIND | written.SERVICES


def _keys_at(model: Any, loc: tuple[str | int, ...]) -> set[str]:
    """The keys that the class reached by a location knows; walks annotations, so it needs no second list of keys."""
    classes, parts = _classes(model), iter(loc)
    for part in parts:
        tagged = [each for each in classes if len(classes) > 1 and each is _TAGS.get(str(part))]
        fields = [f for each in classes for name, f in each.model_fields.items() if part in (name, f.alias)]
        if any(get_origin(each.annotation) is dict for each in fields):
            next(parts, None)  # a name that the user chose
        nearer = dict.fromkeys(found for each in fields for found in _classes(each.annotation))
        classes = tagged or list(nearer) or classes
    return {field.alias or name for each in classes[:1] for name, field in each.model_fields.items()}


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _classes(part)]
