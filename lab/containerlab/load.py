"""A containerlab file -> a document of our own language, and what is not covered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lab.containerlab.convert import convert
from lab.containerlab.placed import Findings, Placed, as_written
from lab.containerlab.recognise import GO_TEMPLATE
from lab.containerlab.variables import Expanded, expand
from lab.errors import Problem, TopologyError
from lab.topology.document import Document
from lab.topology.places import Plain, Rendered, Sheet
from lab.topology.problems import of_yaml
from lab.topology.source import Source
from lab.topology.words import did_you_mean, shown
from lab.topology.writing import write
from lab.topology.yaml12 import parse

_LINE_ENDS = re.compile("\r\n?")


@dataclass(frozen=True)
class Loaded:
    """With `problems` the document lacks what they name and its text, and is good for finding more."""

    document: Document
    problems: tuple[Problem, ...]


def load(source: Source, sets: Mapping[str, object], environment: Mapping[str, str]) -> Loaded:
    """`sets` are values of the file's variables, before those of `environment`. Raises TopologyError, with all problems of
    what cannot be read at all."""
    sheet = Sheet(source.name, _LINE_ENDS.sub("\n", source.text))
    _refuse_templates(sheet)
    given = {name: _as_text(value) for name, value in sets.items()}
    values = {**environment, **given}
    expanded = expand(sheet.text, values)
    places = Rendered(sheet, expanded.text, lambda: expanded.pieces) if expanded.pieces else Plain(sheet)
    parsed = parse(expanded.text)
    unreadable = [*of_yaml(expanded.faults, Plain(sheet)), *of_yaml(parsed.faults, places)]
    findings = Findings()
    written = as_written(Placed(parsed.value, parsed.spot), expanded.text)
    made = convert(written, source.folder, findings) if not parsed.faults else None
    problems = (*_unknown(given, expanded, source.name), *unreadable, *of_yaml(findings.problems, places))
    if made is None:
        raise TopologyError(dict.fromkeys(problems))
    params = {name: values[name] for name in expanded.names if name in values}
    rendered = "" if problems else write(made.value)
    document = Document(made.value, rendered, params, source, made.spot, places)
    notes = tuple(dict.fromkeys(of_yaml(findings.notes, places)))
    return Loaded(replace(document, notes=notes), tuple(dict.fromkeys(problems)))


def variables(source: Source, environment: Mapping[str, str]) -> dict[str, object]:
    """The variables that the file names, with their values, "" where there is none."""
    return {name: environment.get(name, "") for name in expand(source.text, environment).names}


def _refuse_templates(sheet: Sheet) -> None:
    hint = "render it first, by containerlab deploy --export-rendered FILE, or write a template of lab's own, in Jinja2"
    at = sheet.text.find("{{")
    if at >= 0 or sheet.name.endswith(GO_TEMPLATE):
        raise TopologyError([Problem("templates of Go are not covered", hint, sheet.place(max(at, 0)))])


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(given: Mapping[str, str], expanded: Expanded, file: str) -> list[Problem]:
    hint = "a containerlab file has variables, such as ${NAME}, for parameters"
    names = [name for name in given if name not in expanded.names]
    return [Problem(f"{file} has no variable {shown(name)}", did_you_mean(name, expanded.names) or hint) for name in names]
