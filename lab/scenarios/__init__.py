"""The shipped experiments, one pytest module each, and what they say of themselves, read without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Scenario:
    """`title` is the first line of its docstring, `topologies` what its markers name, `checks` test function -> title."""

    name: str
    title: str
    path: Path
    topologies: tuple[str, ...]
    checks: dict[str, str]


def paths() -> dict[str, Path]:
    """Every shipped scenario's file by its name, in the order of the names; none of them is read."""
    return {name_of(path): path for path in sorted(FOLDER.glob("*.py")) if not path.name.startswith("_")}


def shipped() -> dict[str, Scenario]:
    """Every shipped scenario by its name, in the order of the names."""
    return {name: read(path) for name, path in paths().items()}


def read(path: Path) -> Scenario:
    """What a scenario's file says of itself. Raises SyntaxError."""
    module = ast.parse(path.read_text(), str(path))
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    named = dict.fromkeys(topology for test in tests for topology in _topologies(test))
    checks = {test.name: title(ast.get_docstring(test)) or test.name for test in tests}
    return Scenario(name_of(path), title(ast.get_docstring(module)), path, tuple(named), checks)


def name_of(path: Path) -> str:
    """`rp-filter` of rp_filter.py."""
    return path.stem.replace("_", "-")


def title(docstring: str | None) -> str:
    """The first line of a docstring, without its full stop."""
    return (docstring or "").strip().split("\n", 1)[0].strip().removesuffix(".")


def _topologies(test: ast.FunctionDef) -> Iterator[str]:
    """The first argument of each `@pytest.mark.lab(…)`."""
    for each in test.decorator_list:
        marks = isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == "lab"
        if marks and isinstance(each, ast.Call) and each.args and isinstance(each.args[0], ast.Constant):
            yield str(each.args[0].value)
