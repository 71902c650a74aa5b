"""The house's one-way flow, read from the source: who imports whom, and where each outside library may appear."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lab"

# From the first stage to the last: a module imports its own stage and earlier ones.
STAGES = (
    ("lab.errors", "lab.sysctls", "lab.sockopts"),
    ("lab.kernels",),
    ("lab.topology",),
    ("lab.containerlab",),
    ("lab.model",),
    ("lab.roles",),
    ("lab.recipe", "lab.phrases", "lab.steps", "lab.plan"),
    ("lab.substrate",),
    ("lab.state",),
    ("lab.undo",),
    ("lab.observe",),
    ("lab.services",),
    ("lab.node", "lab.host"),
    ("lab.live", "lab.warm"),
    ("lab",),
    ("lab.report", "lab.scenarios", "lab.drawing", "lab.new"),
    ("lab.doctor",),
    ("lab.guest",),
    ("lab.pytest_plugin",),
    ("lab.dispatch",),
    ("lab.workers",),
    ("lab.runner", "lab.matrix"),
    ("lab.cli",),
    ("lab.__main__",),
)

# Each outside library, and the only places that know it.
HOMES = {
    "yaml": ("lab.topology",),
    "jinja2": ("lab.topology.render", "lab.report.page", "lab.matrix.page"),
    "markupsafe": ("lab.report.page",),
    "pydantic": ("lab.model", "lab.roles"),
    "pydantic_core": ("lab.model", "lab.roles"),
    "pyroute2": ("lab.substrate.netlink", "lab.node"),  # node: the type of what it hands out
    "scapy": ("lab.observe.wire", "lab.observe.frames", "lab.scenarios"),
    "click": ("lab.cli",),
    "rich": ("lab.cli.show", "lab.report"),
    "pytest": ("lab.pytest_plugin", "lab.dispatch.sorter", "lab.workers", "lab.runner", "lab.scenarios", "lab.new.files"),
    "docker": ("lab.substrate.containers",),
    "requests": ("lab.substrate.containers",),
    "_pytest": (),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage_of(module: str) -> int:
    """By the longest prefix: `lab` alone is what `from lab import Lab` needs, late in the order."""
    found = [
        (len(prefix), stage)
        for stage, prefixes in enumerate(STAGES)
        for prefix in prefixes
        if module == prefix or (prefix != "lab" and module.startswith(f"{prefix}."))
    ]
    public = module.startswith("lab.") and module.count(".") == 1 and module.split(".")[1][0].isupper()
    return max(found)[1] if found else STAGES.index(("lab",)) if public or module == "lab.__version__" else -1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_its_own_stage_and_earlier_ones(path: Path) -> None:
    module = name_of(path)
    if module == "lab":
        return  # its names are loaded on first use
    own = stage_of(module)
    assert own >= 0, f"{module} has no stage in this table"
    for wanted in imports(path):
        if wanted == "lab.__version__":
            continue  # a constant that every report prints
        resolved = wanted if stage_of(wanted) >= 0 or not wanted.startswith("lab") else wanted.rsplit(".", 1)[0]
        if resolved.startswith("lab"):
            assert 0 <= stage_of(resolved) <= own, f"{module} imports {wanted}, which is a later stage"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_an_outside_library_appears_in_its_one_place(path: Path) -> None:
    module = name_of(path)
    for wanted in imports(path):
        homes = HOMES.get(wanted.split(".")[0])
        if homes is not None:
            at_home = any(module == home or module.startswith(f"{home}.") for home in homes)
            assert at_home, f"{module} imports {wanted}, which belongs in {', '.join(homes) or 'no module'}"


def test_the_errors_import_nothing_of_ours() -> None:
    assert not [name for name in imports(PACKAGE / "errors.py") if name.startswith("lab")]


def test_a_model_or_plan_touches_neither_network_nor_file() -> None:
    for path in [*(PACKAGE / "model").glob("*.py"), PACKAGE / "plan.py"]:
        assert not {"socket", "os", "subprocess", "fcntl", "ctypes"} & {name.split(".")[0] for name in imports(path)}, path
