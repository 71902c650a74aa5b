"""What users write `from lab import …` for: the names, their signatures, and a docstring on everything public."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lab
from lab import Lab, Node

PACKAGE = Path(lab.__file__).parent


def test_the_package_exports_what_the_readme_promises() -> None:
    errors = ["HostError", "LabError", "StepError", "TeardownError", "TopologyError"]
    assert sorted(lab.__all__) == sorted(["Lab", "Node", "__version__", *errors])
    assert all(getattr(lab, name) is not None for name in lab.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Labb'"):
        _ = lab.Labb


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, lab; print(sorted({'pydantic', 'yaml', 'pyroute2', 'click', 'jinja2', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (Lab.up, ["source", "name", "params", "wait", "detach", "on_step"]),
        (Lab.attach, ["name"]),
        (Lab.down, ["self"]),
        (Node.run, ["self", "argv", "check", "timeout", "input", "env", "cwd"]),
        (Node.spawn, ["self", "argv", "options"]),
        (Node.socket, ["self", "family", "type", "proto"]),
        (Node.counters, ["self"]),
        (Node.wait, ["self", "condition", "timeout", "what"]),
    ],
)
def test_a_signature_that_users_rely_on_stays(function: object, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_draws_its_border_in_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("path", [PACKAGE / name for name in ("live.py", "node.py", "errors.py", "observe/conditions.py")])
def test_what_is_public_for_users_has_a_docstring(path: Path) -> None:
    module = ast.parse(path.read_text())
    for node in [*module.body, *(each for part in module.body if isinstance(part, ast.ClassDef) for each in part.body)]:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            own_words = ast.get_docstring(node) or node.name in ("look", "groups")
            assert own_words, f"{path.name}: {node.name} has no docstring"
