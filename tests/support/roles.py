"""A role of a test's own, in a `templates/` beside its topology."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.recipe import read
from lab.roles.spec import ServiceSpec

LEAST = "description: for a test\ncommand: [sleep, infinity]\n"


def write_role(folder: Path, name: str, declaration: str = LEAST, files: Mapping[str, str] | None = None) -> Path:
    """The folder of the role `name` of topologies in `folder`."""
    role = folder / "templates" / name
    role.mkdir(parents=True)
    for file, text in {"role.yaml": declaration, **(files or {})}.items():
        (role / file).write_text(text)
    return role


def specs(folder: Path, services: str, more: str = "") -> tuple[ServiceSpec, ...]:
    """The services of a node `a`, which is joined to a node `b`; `services` is their mapping in YAML's flow style."""
    file = folder / "x.yaml"
    file.write_text(
        f"name: x\nnodes:\n  a: {{kind: router, services: {services}}}\n  b: {{}}\n{more}"
        'links: [{endpoints: [a, b], addresses: {a: [10.0.0.1/24, "2001:db8::1/64"], b: 10.0.0.2/24}, nodad: true}]\n'
    )
    return read(file).services
