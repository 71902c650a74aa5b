"""The text stage: a topology file becomes plain data whose every part knows its place in the user's own file.

    Source ── split ──> head ── params ──> values ─┐
                 └────> body ── Jinja2 in a child ─┴─> rendered text ── YAML 1.2 ──> Document

What the data means is not known here. All problems of the stage are raised at once, as one TopologyError. YAML is
imported where it is first needed: by then the child is importing Jinja2 beside us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Self

from lab.errors import Problem, TopologyError
from lab.topology.document import Document
from lab.topology.places import Plain, Rendered, Sheet
from lab.topology.sandbox import Renderer
from lab.topology.source import Source, read_source
from lab.topology.split import split

__all__ = ["Document", "Rendering", "Source", "declared_params", "load", "load_rendered", "read_source", "render_only", "start"]

Values = Mapping[str, object]
NOTHING: Values = MappingProxyType({})
_JINJA = re.compile(r"#%|\{[{%#]")


def load(source: Source, sets: Values = NOTHING) -> Document:
    """The document that `source` describes with the parameters `sets`; TopologyError with all problems."""
    return start(source, sets).result()


def load_rendered(source: Source) -> Document:
    """The document of a text that was rendered before, taken as it stands: no Jinja2, no parameters."""
    sheet, _ = split(source)
    return Rendering(source, sheet, NOTHING, [], None).result()


def render_only(source: Source, sets: Values = NOTHING) -> str:
    """What Jinja2 makes of `source`, without the parameters' document; TopologyError with all problems so far."""
    return start(source, sets).text()


def declared_params(source: Source) -> Values:
    """The parameters that `source` declares, with their defaults; TopologyError if that document is wrong."""
    from lab.topology.params import declare
    from lab.topology.problems import of_yaml

    sheet, head = split(source)
    params, faults = declare(head)
    if faults:
        raise TopologyError(of_yaml(faults, Plain(sheet)))
    return MappingProxyType({param.name: param.default for param in params.values()})


def start(source: Source, sets: Values = NOTHING) -> Rendering:
    """Begin to load `source`: Jinja2 works in its own process until the result is asked for.

    TopologyError at once where the parameters' document is wrong, or a required one has no value; all else comes with the
    result.
    """
    sheet, head = split(source)
    renderer = Renderer() if _JINJA.search(sheet.text, sheet.body) else None
    try:
        params, problems = _settle(sheet, head, sets)
        if renderer:
            renderer.send(sheet.text[sheet.body :], params)
    except BaseException:
        if renderer:
            renderer.close()
        raise
    return Rendering(source, sheet, params, problems, renderer)


def _settle(sheet: Sheet, head: str, sets: Values) -> tuple[Values, list[Problem]]:
    from lab.topology.params import declare, settle
    from lab.topology.problems import of_yaml

    params, faults = declare(head)
    if faults:
        raise TopologyError(of_yaml(faults, Plain(sheet)))
    values, problems = settle(params, sets, sheet.name)
    if any(param.required and values[param.name] is None for param in params.values()):
        raise TopologyError(problems)  # with nothing in its place, what follows would be hollow
    return values, problems


class Rendering:
    """A topology on its way to `result()` or `text()`, one of which may be asked for, once.

    A context manager, for one that may not come to ask.
    """

    def __init__(
        self, source: Source, sheet: Sheet, params: Values, problems: list[Problem], renderer: Renderer | None
    ) -> None:
        self._source, self._sheet, self._params = source, sheet, params
        self._problems, self._renderer = problems, renderer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up: end the renderer if it still works."""
        if self._renderer:
            self._renderer.close()

    def text(self) -> str:
        """The rendered topology, which need not be YAML; TopologyError with all problems so far."""
        text = self._rendered()
        self._raise()
        return text

    def result(self) -> Document:
        """The document; TopologyError with all problems of the stage."""
        text = self._rendered()
        document = self._parsed(text)
        self._raise()
        return document

    def _raise(self) -> None:
        if self._problems:
            raise TopologyError(dict.fromkeys(self._problems))  # a loop gives the same problem in each of its rounds

    def _rendered(self) -> str:
        from lab.topology.problems import of_jinja

        if not self._renderer:
            return self._sheet.text[self._sheet.body :]
        answer = self._renderer.answer()
        if isinstance(answer, str):
            return answer
        raise TopologyError([*self._problems, *of_jinja(answer, self._sheet, self._params)])

    def _parsed(self, text: str) -> Document:
        from lab.topology.problems import of_yaml
        from lab.topology.trace import trace
        from lab.topology.yaml12 import parse

        places: Plain | Rendered = Plain(self._sheet, self._sheet.body)
        if self._renderer:
            places = Rendered(self._sheet, text, partial(trace, self._sheet, self._params, text))
        parsed = parse(text)
        document = Document(parsed.value, text, self._params, self._source, parsed.spot, places)
        self._problems.extend(of_yaml(parsed.faults, places))
        if isinstance(parsed.value, dict) and "params" in parsed.value:
            hint = "they stand in a document of their own, which begins the file and ends with a line `---`"
            self._problems.append(Problem("parameters cannot stand here", hint, document.place(("params",), key=True)))
        return document
