"""The command `graph`: a picture of a topology or of a living lab."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common_but_format, sets, settings
from lab.cli.show import envelope, say
from lab.errors import TopologyError

if TYPE_CHECKING:
    from lab.drawing.picture import Picture


@click.command()
@click.argument("subject", metavar="FILE|NAME|LAB")
@click.option(
    "--format",
    "drawn_as",
    type=click.Choice(["svg", "mermaid"]),
    default="svg",
    show_default=True,
    help="SVG, laid out by Graphviz; or Mermaid's text, which needs no program.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to; stdout else.")
@sets
@common_but_format
@settings
def graph(settings: Settings, subject: str, drawn_as: str, output: Path | None, params: dict[str, object]) -> None:
    """Draw a topology, or a living lab.

    Hosts, routers and switches, the cables between them, VLANs, addresses and what impairs a link. FILE is a path, NAME that
    of a shipped topology; where a lab of that name is up, it is drawn as it is right now, which needs root: its addresses
    with their flags, and what is down in red. SVG is laid out by Graphviz (Debian package graphviz) and fits light and dark
    backgrounds; Mermaid's text is drawn by many places that show Markdown.

    \b
    Example:
      lab graph office.yaml --set members=5 -o office.svg
      lab graph rp-filter --format mermaid
      lab graph monday -o monday.svg

    See also: lab plan, lab inspect
    """
    found = _picture(subject, params)
    text = _drawn(found, drawn_as)
    if output:
        _write(output, text)
    if settings.json:
        file = {"file": str(output)} if output else {"text": text}
        envelope("graph", {"name": found.name, "format": drawn_as, **file})
    elif output is None:
        print(text, end="")
    elif settings.verbosity >= 0:
        say(f"{found.name} is drawn in {output}")


def _picture(subject: str, params: Mapping[str, object]) -> Picture:
    from lab import host, live, recipe
    from lab.drawing import picture

    if subject.endswith((".yaml", ".yml")) or "/" in subject or subject not in _living():
        return picture.of(recipe.read(subject, params).topology)
    if params:
        raise TopologyError(f"lab {subject!r} is up: its parameters stand", "name its file, or leave --set away")
    host.require_root()
    return picture.of_lab(live.Lab.attach(subject))


def _living() -> set[str]:
    from lab import live

    return {summary.name for summary in live.labs() if summary.status != "dead"}


def _drawn(found: Picture, drawn_as: str) -> str:
    if drawn_as == "mermaid":
        from lab.drawing import mermaid

        return mermaid.render(found)
    from lab.drawing import svg

    return svg.render(found)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise TopologyError(f"{file} cannot be written: {error.strerror}", "name a file in a directory that exists") from error


COMMANDS: tuple[Any, ...] = (graph,)
