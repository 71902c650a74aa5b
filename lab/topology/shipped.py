"""The topologies and roles that come with `lab`; only where they lie, never what is in them."""

from __future__ import annotations

from pathlib import Path


def shipped_topologies() -> dict[str, Path]:
    """Name -> file of every shipped topology, in the order of the names."""
    return {path.stem: path for path in sorted(_folder().glob("*.yaml"))}


def shipped_templates() -> Path:
    """The folder of the shipped roles."""
    return _beside("templates")


def _folder() -> Path:
    return _beside("topologies")


def _beside(name: str) -> Path:
    """`lab/NAME` in an installed wheel, `NAME` beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
