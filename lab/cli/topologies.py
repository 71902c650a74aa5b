"""Commands about a topology file: validate, render, plan, schema, up."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from lab.cli.options import Settings, common, sets, settings
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.plan import Step
    from lab.recipe import Recipe

_file = click.argument("topology", metavar="FILE|NAME")


@click.command()
@_file
@sets
@common
@settings
def validate(settings: Settings, topology: str, params: dict[str, object]) -> None:
    """Check a topology without making anything.

    Every problem is told at once, each with its place in the file. As root also whether this kernel has what it needs.

    \b
    Example:
        lab validate office.yaml --set members=5
    """
    from lab import recipe

    found = recipe.read(topology, params)
    lacking = _lacking(found)
    nodes, links = len(found.topology.nodes), len(found.topology.links)
    if settings.json:
        envelope(
            "topology", {"name": found.topology.name, "nodes": nodes, "links": links, "params": dict(found.document.params)}
        )
    elif settings.verbosity >= 0:
        print(f"{found.source.name}: {found.topology.name} is well: {_count(nodes, 'node')}, {_count(links, 'link')}")
    if lacking is None and settings.verbosity >= 0:
        say("lab: kernel features were not tried: that needs root")


def _lacking(found: Recipe) -> bool | None:
    """None where nothing could be tried. Raises HostError with all that is missing."""
    if os.geteuid() != 0:
        return None
    from lab import live
    from lab.errors import HostError

    if problems := live.missing_features(found):
        raise HostError(problems)
    return False


@click.command()
@_file
@sets
@common
@settings
def render(settings: Settings, topology: str, params: dict[str, object]) -> None:
    """Print a topology as Jinja2 leaves it, with its parameters filled in.

    \b
    Example:
        lab render office.yaml --set members=5
    """
    from lab.topology import text

    rendered = text.render_only(text.read_source(topology), params)
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
    """Print the steps that `up` would take, in order and in words; needs no root.

    \b
    Example:
        lab plan rp-filter
    """
    from lab import recipe
    from lab.plan import make_plan

    found = recipe.read(topology, params)
    steps = make_plan(found.topology, found.services).steps
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

    \b
    Example:
        lab schema > lab.schema.json
        # and at the top of a topology:  # yaml-language-server: $schema=lab.schema.json
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
    """Build a lab; it lives until `lab down`. Where a step fails, everything is undone.

    \b
    Example:
        lab up office.yaml --name monday --set members=5
    """
    from lab.live import Lab

    start = time.monotonic()
    on_step = _say_step if settings.verbosity > 0 else None
    lab = Lab.up(topology, name=name, params=params, wait=not no_wait, detach=True, on_step=on_step)
    settings.decided()
    took = time.monotonic() - start
    if settings.json:
        envelope("lab", {"name": lab.name, "uuid": lab.record.uuid, "nodes": lab.record.nodes, "seconds": round(took, 3)})
    elif settings.verbosity >= 0:
        print(f"lab {lab.name} is up: {_count(len(lab.nodes), 'node')} in {took:.2f} s")
        say(f"look around with `lab shell {lab.name} {next(iter(lab.nodes), 'NODE')}`, end it with `lab down {lab.name}`")


def _say_step(step: Step) -> None:
    say(step.describe())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


COMMANDS = (validate, render, plan, schema, up)
