"""Faults of the three readers, each with a place of its own kind, as problems with places in the user's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from lab.errors import Place, Problem
from lab.topology import limits
from lab.topology.places import Plain, Rendered, Sheet, printable
from lab.topology.sandbox import Fault as JinjaFault
from lab.topology.words import did_you_mean
from lab.topology.yamlhints import Fault

_TAG = re.compile(r"\{[{%]|#%")
_ANYTHING = re.compile(r"\S")
_ATTRIBUTE = re.compile(r"has no attribute '(\w+)'$")


def of_yaml(faults: Iterable[Fault], places: Plain | Rendered) -> Iterator[Problem]:
    """Problems of a parsed text."""
    for fault in faults:
        see = f", {fault.see[0]} {places.place(fault.see[1])}" if fault.see else ""
        yield Problem(fault.message + see, fault.hint, places.place(fault.index))


def of_jinja(fault: JinjaFault, sheet: Sheet, params: Mapping[str, object]) -> Iterator[Problem]:
    """Problems of a template that was not rendered: one, or one for each undefined name."""
    names = dict(fault.names)
    if fault.kind == "undefined" and fault.name:
        names[fault.name] = fault.line or names.get(fault.name, 1)
    else:
        yield _one(fault, sheet)
    for name, line in sorted(names.items(), key=lambda item: item[1]):
        hint = did_you_mean(name, params) or f"declare it in the first document, `params: {{{name}: …}}`"
        yield Problem(f"{name!r} is not defined", hint, _place(sheet, line, name))


def _one(fault: JinjaFault, sheet: Sheet) -> Problem:
    message, hint = _MESSAGES.get(fault.kind, ("Jinja2: {said}", None))
    attribute = _ATTRIBUTE.search(fault.message)
    place = _place(sheet, fault.line or 1, attribute[1] if attribute else None)
    said = printable(fault.message)
    return Problem(message.format(said=said, limits=limits, mebibytes=limits.MEMORY >> 20), hint, place)


_ROUNDS = "does a loop have far too many rounds?"
_MESSAGES = {
    "unsafe": ("Jinja2 may not do this here: {said}", "a topology computes with its parameters and nothing else"),
    "loader": ("a topology is one file: it cannot include, import or extend another", "use a macro in this file"),
    "time": ("rendering took longer than {limits.DEADLINE:g} s", _ROUNDS),
    "memory": ("rendering took more than {mebibytes} MiB of memory", "is a text or a list far too long?"),
    "output": ("rendering made more than {limits.OUTPUT:,} characters", _ROUNDS),
}


def _place(sheet: Sheet, line: int, word: str | None) -> Place:
    """Line `line` of the template, at `word` if it stands there, else at the first tag."""
    start, text = sheet.line(sheet.position(sheet.body)[0] - 1 + line)
    found = (word and re.search(rf"\b{re.escape(word)}\b", text)) or _TAG.search(text) or _ANYTHING.search(text)
    return sheet.place(start + (found.start() if found else 0))
