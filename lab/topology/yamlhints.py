"""libyaml's complaints in the words of somebody who writes a topology."""

from __future__ import annotations

from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Fault:
    """Something wrong at a character of the text; `see` names another place to look at, such as ("first at", 17)."""

    index: int
    message: str
    hint: str | None = None
    see: tuple[str, int] | None = None


_INDENT = "is the indentation that of the entries around it?"
_HINTS: dict[str, str] = {
    "mapping values are not allowed in this context": "a `:` where no key can end: is this line, or the one before it, "
    "indented as meant? a text that holds `: ` must be quoted",
    "did not find expected key": _INDENT,
    "did not find expected '-' indicator": _INDENT,
    "could not find expected ':'": "a key is followed by `: ` on its line; a longer text is indented, or quoted",
    "block sequence entries are not allowed in this context": "a `- ` entry must stand on a line of its own",
    "did not find expected ',' or ']'": "is a `]` or a comma missing?",
    "did not find expected ',' or '}'": "is a `}` or a comma missing?",
    "found unexpected end of stream": "close it; a quote inside single quotes is written twice",
    "found unknown escape character": "in double quotes write \\\\ for a backslash, or use single quotes",
    "did not find expected <document start>": "is there a closing bracket or a line too many?",
    "did not find expected node content": "is there a comma or a closing bracket too many?",
    "found undefined tag handle": "quote a text that begins with `!`",
    "did not find expected alphabetic or numeric character": "quote a text that begins with `*` or `&`",
}
_STARTERS = {
    "\t": ("a tab cannot indent", "use spaces"),
    "@": ("a plain text cannot begin with `@`", "quote it"),
    "`": ("a plain text cannot begin with a backtick", "quote it"),
    "%": ("a plain text cannot begin with `%`", "quote it; a Jinja2 statement is `{% … %}`, or a line with `#%`"),
}


def explain(error: yaml.YAMLError, text: str) -> Fault:
    """The fault that `error`, raised on reading `text`, stands for."""
    if isinstance(error, yaml.reader.ReaderError):
        # libyaml counts this position in the bytes that PyYAML encodes the text to
        index = len(text.encode()[: error.position].decode(errors="ignore"))
        code = error.character if isinstance(error.character, int) else ord(error.character)
        return Fault(index, f"the control character U+{code:04X} cannot stand in YAML", "remove it, or escape it")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Fault(0, f"not YAML: {error}")
    return _marked(error, error.problem_mark.index, text)


def _marked(error: yaml.MarkedYAMLError, index: int, text: str) -> Fault:
    problem = error.problem or "syntax error"
    if "cannot start any token" in problem:
        return Fault(index, *_STARTERS.get(text[index : index + 1], (f"not YAML: {problem}", "quote the text")))
    hint: str | None = _HINTS.get(problem)
    start = error.context_mark.index if error.context_mark else index
    if problem == "found unexpected end of stream":
        return Fault(start, "this quoted text never ends", hint)
    if problem == "could not find expected ':'":
        return Fault(start, "not YAML: neither a key nor part of the value above", hint)
    if start == index or hint is _INDENT:
        return Fault(index, f"not YAML: {problem}", hint)
    return Fault(index, f"not YAML: {problem} {error.context}", hint, ("which begins at", start))
