"""Commands about living labs: down, ls, inspect, exec, shell, prune."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from lab.cli import guests, progress, prompt
from lab.cli.options import Settings, common, settings
from lab.cli.prompt import Start
from lab.cli.show import envelope, say, table

if TYPE_CHECKING:
    from lab.live import Lab
    from lab.node import Node
    from lab.services.container import Container

CANNOT_RUN = 125


@click.command()
@click.argument("lab")
@common
@settings
def down(settings: Settings, lab: str) -> None:
    """End a lab and remove every trace of it.

    It goes by the record of what was made: the file may have changed or be gone. Processes on the nodes are ended too. A
    lab on which another command works is waited for, 10 seconds at the most. What could not be undone is told, and stays on
    record for another `down` or for `prune`.

    \b
    Exit status:
      0  it is gone       2  no such lab       3  something could not be undone

    \b
    Example:
      lab down monday

    See also: lab ls, lab prune
    """
    from lab import host, live

    host.require_root()
    with progress.line(settings, lambda: f"taking lab {lab} down"):
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

    STATUS is `up`, `busy` where a command works on it right now, or `dead` where whoever made it was killed. KERNEL is that of
    the guest which a lab lives in. Changes nothing.

    \b
    Example:
      lab ls -f json

    See also: lab inspect, lab prune
    """
    from lab import live

    found = sorted([*live.labs(), *guests.labs()], key=lambda summary: summary.name)
    if settings.json:
        envelope("labs", found)
        return
    now = time.time()
    rows = [(each.name, each.status, each.nodes, _age(now - each.created), each.kernel or "", each.source) for each in found]
    columns = ("LAB", "STATUS", "NODES", "AGE", "KERNEL", "FILE")
    shown = [at for at, column in enumerate(columns) if column != "KERNEL" or any(each.kernel for each in found)]
    table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows])


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
    """Show a living lab: what each node has right now.

    A row for each interface: its kind, operational state (RFC 2863), MTU in bytes, MAC address, master and addresses with
    their flags, as the kernel has them and not as the file had them; a row for each port of an Open vSwitch, as its
    database has it; then a row for each container and service: whether it runs, or how it ended. With -f json also routes
    and neighbours. Changes nothing.

    \b
    Example:
      lab inspect monday
      lab inspect monday -f json

    See also: lab ls, lab wait
    """
    from lab import host, live
    from lab.substrate.netlink import dump

    host.require_root()
    found = live.Lab.attach(lab)
    states = {node.name: dump.read(node.ns) for node in found}
    switches = found.switches()
    if settings.json:
        nodes = {
            name: {"kind": found.record.nodes[name], "state": state, "services": _services(found[name])}
            for name, state in states.items()
        }
        for name, switch in switches.items():
            nodes[name]["switch"] = switch
        for node in found:
            if node.container:
                nodes[node.name]["container"] = _container(node.container)
        envelope("lab", {"record": found.record, "directory": str(found.directory), "nodes": nodes})
        return
    rows = [
        (name, link.name, link.kind, link.state, link.mtu, link.mac, link.master, " ".join(link.addresses))
        for name, state in states.items()
        for link in state.links
    ]
    table(("NODE", "INTERFACE", "KIND", "STATE", "MTU", "MAC", "MASTER", "ADDRESSES"), rows)
    ports = [
        (name, port.name, port.number, port.kind or "link", port.vlans or "every", port.error)
        for name, switch in switches.items()
        for port in switch.ports
    ]
    if ports:
        print()
        table(("NODE", "PORT", "NUMBER", "KIND", "VLANS", "ERROR"), ports)
    containers = [(each.name, each.container.contained.name, each.container.state()) for each in found if each.container]
    if containers:
        print()
        table(("NODE", "CONTAINER", "STATE"), containers)
    services = [(each.spec.node, each.name, each.state(), " ".join(each.spec.argv)) for each in found.services]
    if services:
        print()
        table(("NODE", "SERVICE", "STATE", "COMMAND"), services)


def _container(container: Container) -> dict[str, object]:
    contained, state = container.contained, container.state()
    return {"name": contained.name, "id": contained.id, "running": state.running, "status": state.status, "state": str(state)}


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
    """Run a command on a node.

    It has the caller's directory, streams and terminal, and the caller's environment with LAB_NAME and LAB_NODE added. It
    sees the network, /proc and /sys of the node, the host's files, and no process of the host. In a container it has the
    container's files, directory, environment, user and limits instead. Options after NODE are the command's own. Signals
    are passed on; when lab ends, the command's session does.

    \b
    Exit status:
      that of the command; 128 and the number of a signal that ended it;
      125 where lab could not run it

    \b
    Example:
      lab exec monday client -- ping -c1 10.0.0.2

    See also: lab shell, lab wait
    """
    return execute(lab, node, Start(argv[1:] if argv[0] == "--" else argv, prompt.environment(lab, node)))


@click.command()
@click.argument("lab")
@click.argument("node")
@common
def shell(lab: str, node: str) -> int:
    """Open a shell on a node.

    It is yours ($SHELL, else sh), with your start-up files and a prompt that names lab and node: `[monday client]`. Both
    names are in its environment as LAB_NAME and LAB_NODE. Without a terminal it reads commands from standard input. What it
    left running is ended with it; the lab stays. In a container it is the container's own sh.

    \b
    Exit status:
      that of the shell; 125 where lab could not start it

    \b
    Example:
      lab shell monday client

    See also: lab exec
    """
    return execute(lab, node, (prompt.interactive if _on_terminal() else prompt.plain)(lab, node))


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def execute(lab: str, node: str, start: Start, plain: bool = False) -> int:
    """The exit status; with `plain` it has the caller's streams and no terminal of its own."""
    from lab.errors import LabError
    from lab.substrate import terminal

    try:
        init = _attached(lab)[node].init()
        start = start if init.environment is None else prompt.inside(start, init.environment)
        in_terminal = _on_terminal() and not plain
        return (terminal.interact if in_terminal else terminal.attached)(init, start.argv, env=start.env)
    except LabError as error:
        say(f"lab: {error}")
    except OSError as error:
        say(f"lab: {error.filename or start.argv[0]}: {error.strerror}")
    return CANNOT_RUN


def _attached(name: str) -> Lab:
    from lab import host, live

    host.require_root()
    return live.Lab.attach(name)


@click.command()
@common
@settings
def prune(settings: Settings) -> None:
    """Remove what killed processes left behind.

    That is: labs half made or half removed, and labs of tests that were killed. Labs that are up, those on which a command
    works, and whatever is not lab's own, stay.

    \b
    Example:
      lab prune

    See also: lab ls, lab down
    """
    from lab import host, undo

    host.require_root()
    silent = settings.json or settings.verbosity < 0
    gone: list[object] = [*undo.prune(lambda each: silent or print(f"{each.name}: {each.why}: removed"))]
    gone += guests.prune(lambda name, why: silent or print(f"{name}: {why}: removed"))
    if settings.json:
        envelope("pruned", gone)


COMMANDS: tuple[Any, ...] = (down, ls, inspect, run_on_node, shell, prune)
