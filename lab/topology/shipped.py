"""The topologies that come with `lab`; only where they lie, never what is in them."""

from __future__ import annotations

from pathlib import Path


def shipped_topologies() -> dict[str, Path]:
    """Name -> file of every shipped topology, in the order of the names."""
    return {path.stem: path for path in sorted(_folder().glob("*.yaml"))}


def _folder() -> Path:
    """`lab/topologies` in an installed wheel, `topologies` beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "topologies"
    return inside if inside.is_dir() else package.parent / "topologies"
