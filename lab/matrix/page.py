"""A matrix as one page that needs nothing else, beside it a page for each kernel."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab import __version__
from lab.matrix.verdicts import Matrix
from lab.report import page as of_run

_TEMPLATE = "page.html"


def write(matrix: Matrix, folder: Path) -> None:
    """`folder`/index.html, and `folder`/RELEASE/index.html for each kernel that booted. Raises OSError."""
    (folder / "index.html").write_bytes(render(matrix).encode("utf-8", "replace"))
    for column in matrix.columns:
        if column.run:
            own = folder / _name(column.release)
            own.mkdir(exist_ok=True)
            of_run.write(column.run, own / "index.html", kernel=f"Linux {column.release}")


def render(matrix: Matrix) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=of_run.printable,
    )
    return environment.get_template(_TEMPLATE).render(
        matrix=matrix,
        version=__version__,
        started=datetime.fromtimestamp(matrix.started, UTC),
        link=lambda column: f"{quote(_name(column.release))}/index.html" if column.run else "",
        differing={(each.scenario, each.name) for each in matrix.differences()},
    )


def _name(release: str) -> str:
    return release.replace("/", "_")
