"""The JSON schema of a topology file, made from the classes of `file`: an editor knows what the parser knows.

A file is one or two YAML documents, and editors hold the schema against each; so it describes both: parameters, or a lab.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.model import container
from lab.model import file as written

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION = {"type": "string", "pattern": r"\{\{.*\}\}"}
_PARAMS = {
    "type": "object",
    "description": "The parameters of the lab: names and defaults, or {default, type, choices, min, max, help}.",
    "properties": {"params": {"type": ["object", "null"]}},
    "required": ["params"],
    "additionalProperties": False,
}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a topology file."""
    made = written.File.model_json_schema(by_alias=True)
    parts = made.pop("$defs")
    parts["File"] = made
    _describe(parts)
    parts = {name: _opened(part) for name, part in parts.items()} | {"Params": _PARAMS}
    whole = {"if": {"required": ["params"]}, "then": {"$ref": "#/$defs/Params"}, "else": {"$ref": "#/$defs/File"}}
    return {"$schema": _DIALECT, "title": "lab topology", **whole, "$defs": parts}


def _describe(parts: dict[str, Any]) -> None:
    """The docstrings below the attributes, read from the source: pydantic would do that at every start, for 100 ms."""
    of_class = {name: said for module in (container, written) for name, said in _docstrings(Path(module.__file__ or ""))}
    for name, part in parts.items():
        for base in reversed(getattr(getattr(written, name, None), "__mro__", (type(name, (), {}),))):
            for attribute, text in of_class.get(base.__name__, {}).items():
                if attribute in part.get("properties", {}):
                    part["properties"][attribute]["description"] = text


def _docstrings(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Of each class, what stands below its attributes."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            pairs = zip(node.body, node.body[1:], strict=False)
            names = [(getattr(getattr(attribute, "target", None), "id", ""), text) for attribute, text in pairs]
            yield node.name, {name: _text(text) for name, text in names if name and _text(text)}


def _text(node: ast.stmt) -> str:
    constant = node.value if isinstance(node, ast.Expr) else None
    return str(constant.value) if isinstance(constant, ast.Constant) else ""


def _opened(part: Any) -> Any:
    """Wherever a number, a truth value or one of some words stands, an expression of Jinja2's may stand in quotes."""
    if isinstance(part, list):
        return [_opened(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {key: each if key in ("enum", "default", "examples") else _opened(each) for key, each in part.items()}
    fixed = part.get("type") in ("integer", "number", "boolean") or "enum" in part
    return {"anyOf": [inner, _EXPRESSION]} if fixed else inner
