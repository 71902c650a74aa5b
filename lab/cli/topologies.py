"""Commands about a topology file: validate, render, plan, schema, up."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from lab.cli import progress
from lab.cli.options import Settings, common, sets, settings
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.recipe import Recipe
    from lab.steps import Step

_file = click.argument("topology", metavar="FILE|NAME")


@click.command()
@_file
@sets
@common
@settings
def validate(settings: Settings, topology: str, params: dict[str, object]) -> None:
    """Check a topology without making anything.

    Every problem is told at once, each with file, line and column and what to write instead. As root it is also tried
    whether this host has what the topology needs: features of the kernel, programs of services. FILE is a path, NAME that
    of a shipped topology.

    \b
    Exit status:
      0  it is well       2  it is wrong       3  this host lacks something

    \b
    Example:
      lab validate office.yaml --set members=5

    See also: lab render, lab plan
    """
    from lab import recipe

    found = recipe.read(topology, params)
    _say_notes(found, settings)
    lacking = _lacking(found)
    nodes, links = len(found.topology.nodes), len(found.topology.links)
    if settings.json:
        said = {"name": found.topology.name, "nodes": nodes, "links": links, "params": dict(found.document.params)}
        notes = list(map(str, found.document.notes))
        envelope("topology", said | ({"notes": notes} if notes else {}))
    elif settings.verbosity >= 0:
        print(f"{found.source.name}: {found.topology.name} is well: {_count(nodes, 'node')}, {_count(links, 'link')}")
    if lacking is None and settings.verbosity >= 0:
        say("lab: what this host has for it was not tried: that needs root")


def _say_notes(found: Recipe, settings: Settings) -> None:
    if settings.verbosity >= 0:
        for note in found.document.notes:
            say(f"lab: {note}")


def _lacking(found: Recipe) -> bool | None:
    """None where nothing could be tried. Raises HostError with all that is missing."""
    if os.geteuid() != 0:
        return None
    from lab import host
    from lab.errors import HostError

    if problems := host.missing_features(found) + host.missing_programs(found) + host.missing_images(found):
        raise HostError(problems)
    return False


@click.command()
@_file
@sets
@common
@settings
def render(settings: Settings, topology: str, params: dict[str, object]) -> None:
    """Print a topology as Jinja2 leaves it.

    Its parameters are filled in, those of --set or their defaults. What comes out is YAML, and is not checked any further.
    A file of containerlab's comes out in lab's own language.

    \b
    Example:
      lab render office.yaml --set members=5
      lab render office.clab.yaml > office.yaml

    See also: lab validate
    """
    from lab import recipe

    rendered = recipe.rendered(topology, params)
    if settings.json:
        envelope("rendered", {"text": rendered})
    else:
        print(rendered, end="" if rendered.endswith("\n") else "\n")


@click.command()
@_file
@sets
@common
@settings
def plan(settings: Settings, topology: str, params: dict[str, object]) -> None:
    """Print the steps that `up` would take.

    All of them, in order and in words. Needs no root and makes nothing; `up` takes exactly these steps. What
    this kernel lacks, and something else can stand in for, is found by trying: that needs root, or is taken to be there.

    \b
    Example:
      lab plan rp-filter

    See also: lab up
    """
    from lab import host, recipe

    steps = host.planned(recipe.read(topology, params)).steps
    if settings.json:
        envelope("plan", [{"number": at, "node": step.node, "step": step.describe()} for at, step in enumerate(steps, 1)])
        return
    width = len(str(len(steps)))
    for at, step in enumerate(steps, 1):
        print(f"{at:{width}}  {step.describe()}")


@click.command()
@common
def schema() -> None:
    """Print the JSON schema of a topology file, for an editor.

    It has every key, with its type and a word about it. An editor with a YAML language server finds it by a comment on the
    first line of a topology:  # yaml-language-server: $schema=lab.schema.json

    \b
    Example:
      lab schema > lab.schema.json

    See also: lab validate
    """
    import json

    from lab.model.schema import schema as make

    print(json.dumps(make(), indent=2))


@click.command()
@_file
@click.option("--name", metavar="LAB", help="Call the lab so; the topology's own name otherwise.")
@click.option("--no-wait", is_flag=True, help="Do not wait for carriers and for duplicate address detection.")
@sets
@common
@settings
def up(settings: Settings, topology: str, name: str | None, no_wait: bool, params: dict[str, object]) -> None:
    """Build a lab; it lives until `lab down`.

    Where a step fails or the command is interrupted, everything is undone. When it returns, every carrier has come and
    every address can be used, which takes a second or two where duplicate addresses are looked for; 15 seconds at the most.
    Nothing is made in the host's own network namespace; each node is there for `ip netns` as LAB.NODE. Another name of this
    command is `lab deploy`, and of down `lab destroy`.

    \b
    Exit status:
      0  it is up       2  the file or a name is wrong
      3  the host cannot, or a step failed; nothing is left

    \b
    Example:
      lab up office.yaml --name monday --set members=5
      lab up two-hosts

    See also: lab plan, lab down, lab shell, lab wait
    """
    from lab import recipe
    from lab.live import Lab

    start = time.monotonic()
    building = progress.Building(topology)
    with progress.line(settings, lambda: str(building)) as line:

        def on_step(step: Step) -> None:
            building.took(step)
            if settings.verbosity > 0:
                with line.aside():
                    say(step.describe())

        building.recipe = recipe.read(topology, params)
        with line.aside():
            _say_notes(building.recipe, settings)
        lab = Lab.up(building.recipe, name=name, wait=not no_wait, detach=True, on_step=on_step)
        settings.decided()
    took = time.monotonic() - start
    if settings.json:
        envelope("lab", {"name": lab.name, "uuid": lab.record.uuid, "nodes": lab.record.nodes, "seconds": round(took, 3)})
    elif settings.verbosity >= 0:
        print(f"lab {lab.name} is up: {_count(len(lab.nodes), 'node')} in {took:.2f} s")
        say(f"look around with `lab shell {lab.name} {next(iter(lab.nodes), 'NODE')}`, end it with `lab down {lab.name}`")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


COMMANDS = (validate, render, plan, schema, up)
