"""Commands about living labs: down, ls, inspect, exec, shell, prune."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say, table

if TYPE_CHECKING:
    from lab.live import Lab
    from lab.node import Node

CANNOT_RUN = 125


@click.command()
@click.argument("lab")
@common
@settings
def down(settings: Settings, lab: str) -> None:
    """End a lab and remove every trace of it, by its record: the file may have changed or be gone.

    \b
    Example:
        lab down monday
    """
    from lab import live

    live.require_root()
    live.take_down(live.find(lab), lab)
    if settings.json:
        envelope("down", {"name": lab})
    elif settings.verbosity >= 0:
        print(f"lab {lab} is gone")


@click.command()
@common
@settings
def ls(settings: Settings) -> None:
    """List the labs of this host.

    \b
    Example:
        lab ls -f json
    """
    from lab import live

    found = live.labs()
    if settings.json:
        envelope("labs", found)
        return
    now = time.time()
    rows = [(each.name, each.status, each.nodes, _age(now - each.created), each.source) for each in found]
    table(("LAB", "STATUS", "NODES", "AGE", "FILE"), rows)


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


@click.command()
@click.argument("lab")
@common
@settings
def inspect(settings: Settings, lab: str) -> None:
    """Show a living lab: what each node's interfaces, addresses, routes and services are right now.

    \b
    Example:
        lab inspect monday
        lab inspect monday -f json
    """
    from lab import live
    from lab.substrate.netlink import dump

    live.require_root()
    found = live.Lab.attach(lab)
    states = {node.name: dump.read(node.ns) for node in found}
    if settings.json:
        nodes = {
            name: {"kind": found.record.nodes[name], "state": state, "services": _services(found[name])}
            for name, state in states.items()
        }
        envelope("lab", {"record": found.record, "directory": str(found.directory), "nodes": nodes})
        return
    rows = [
        (name, link.name, link.kind, link.state, link.mtu, link.mac, link.master, " ".join(link.addresses))
        for name, state in states.items()
        for link in state.links
    ]
    table(("NODE", "INTERFACE", "KIND", "STATE", "MTU", "MAC", "MASTER", "ADDRESSES"), rows)
    services = [(each.spec.node, each.name, each.state(), " ".join(each.spec.argv)) for each in found.services]
    if services:
        print()
        table(("NODE", "SERVICE", "STATE", "COMMAND"), services)


def _services(node: Node) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, service in node.services.items():
        state = service.state()
        found[name] = {"running": state.running, "pid": state.pid, "status": state.status, "state": str(state)}
    return found


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("lab")
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@common
def run_on_node(lab: str, node: str, argv: tuple[str, ...]) -> int:
    """Run a command on a node; its exit status is the command's own, 125 where it could not be run.

    \b
    Example:
        lab exec monday client -- ping -c1 10.0.0.2
    """
    return _execute(lab, node, list(argv[1:] if argv[0] == "--" else argv))


@click.command()
@click.argument("lab")
@click.argument("node")
@common
def shell(lab: str, node: str) -> int:
    """Open a shell on a node.

    \b
    Example:
        lab shell monday client
    """
    return _execute(lab, node, [os.environ.get("SHELL") or "/bin/sh"])


def _execute(lab: str, node: str, argv: list[str]) -> int:
    from lab.errors import LabError
    from lab.substrate import terminal

    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        init = _attached(lab)[node].init()
        return (terminal.interact if on_terminal else terminal.attached)(init, argv)
    except LabError as error:
        say(f"lab: {error}")
    except OSError as error:
        say(f"lab: {error.filename or argv[0]}: {error.strerror}")
    return CANNOT_RUN


def _attached(name: str) -> Lab:
    from lab import live

    live.require_root()
    return live.Lab.attach(name)


@click.command()
@common
@settings
def prune(settings: Settings) -> None:
    """Remove what killed processes left: labs half made or half removed, and labs of tests that were killed.

    Labs that are up, and whatever is not lab's own, stay.

    \b
    Example:
        lab prune
    """
    from lab import live, undo

    live.require_root()
    silent = settings.json or settings.verbosity < 0
    gone = undo.prune(lambda each: silent or print(f"{each.name}: {each.why}: removed"))
    if settings.json:
        envelope("pruned", gone)


COMMANDS: tuple[Any, ...] = (down, ls, inspect, run_on_node, shell, prune)
