"""Where a command runs: here, in a guest of its own, or in the guest in which the lab that it names lives.

`--kernel` is taken before and after every command's name. A guest is a place and not another code path: what runs in it is this
very command, with the same words; LAB_GUEST in its environment says that it is there already.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, in_guests
from lab.cli.show import envelope, say
from lab.errors import LabError, TopologyError

if TYPE_CHECKING:
    from lab.guest.choose import Wishes
    from lab.guest.kept import Kept
    from lab.kernels import Kernel
    from lab.live import Summary

HOST = "host"
INSIDE = "LAB_GUEST"
"""Set in a guest, to the release of its kernel."""
_IN_A_GUEST = frozenset({"run", "validate", "doctor"})
"""What a guest of its own is booted for, beside `up`; other commands do not depend on the kernel."""
_SHOWN = frozenset({"run", "up", "debug", "validate", "doctor"})
_READS_HERE = frozenset({"render", "plan", "graph", "matrix", "debug"})
_CANNOT_RUN = 125
_READS = frozenset({"exec", "shell"})


def know(command: click.Command) -> None:
    """Gives a command the options about guests, and lets it run where they say."""
    in_guests(command, hidden=command.name not in _SHOWN)
    here = command.callback
    assert here is not None

    @functools.wraps(here)
    def placed(*words: Any, **named: Any) -> Any:
        status = _elsewhere(click.get_current_context())
        return here(*words, **named) if status is None else status

    command.callback = placed


def _elsewhere(context: click.Context) -> int | None:
    """The exit status where the command ran in a guest; None where it shall run here."""
    settings, name = context.ensure_object(Settings), context.command.name
    if os.environ.get(INSIDE):
        return None
    if settings.untrusted:
        _check_untrusted(settings, name or "")
    if name in _IN_A_GUEST and settings.kernel not in (None, HOST):
        return in_one(settings, context.params)
    if "lab" in context.params and (found := _guest_of(str(context.params["lab"]))):
        return _in_kept(settings, found, name or "", context.params)
    if name == "up" and settings.kernel not in (None, HOST):
        return _up(settings, context.params)
    if name in _IN_A_GUEST | {"up"} and settings.kernel is None and settings.warp:
        raise TopologyError("--warp is about a guest's clock, and no kernel is named", "name one: --kernel 6.1")
    return None


def _check_untrusted(settings: Settings, name: str) -> None:
    """Nothing of a stranger's is read on this host by mistake."""
    if name in _READS_HERE:
        what = f"lab {name} works on this host, where a stranger's file can do harm"
        raise TopologyError(f"--untrusted: {what}", "with --kernel it is for run, up and validate")
    if name in _IN_A_GUEST | {"up"} and settings.kernel in (None, HOST):
        raise TopologyError("--untrusted is about a guest, and no kernel is named", "name one: --kernel 6.1")


def in_one(settings: Settings, params: Mapping[str, Any]) -> int:
    """Runs the command of this call in a guest of its own."""
    from lab import guest

    wished = wishes(settings, params)
    kernel = _kernel(settings)
    with contextlib.ExitStack() as shown:
        status = guest.run(
            kernel,
            settings.argv,
            report=list(written_by(params)),
            wishes=wished,
            tell=lambda words: tell(settings, words, shown),
            ready=shown.close,
        )
    settings.decided()
    return status


def _up(settings: Settings, params: Mapping[str, Any]) -> int:
    """A lab in a guest that lives until `down`. What is wrong with the file is told before anything is booted, unless it is a
    stranger's, which is read in the guest alone."""
    from lab.guest import kept
    from lab.guest.once import Limits

    wished = wishes(settings, params)
    name, nodes, source, argv = (_named if settings.untrusted else _read)(settings, params)
    kernel = _kernel(settings)
    with contextlib.ExitStack() as shown:
        told = functools.partial(tell, settings, shown=shown)
        status = kept.up(kernel, wished, name, nodes, source, argv, Limits(), told, shown.close)
    settings.decided()
    return status


_Known = tuple[str, Mapping[str, str], str, tuple[str, ...]]
"""Of a lab to come: its name, its nodes' kinds, where it comes from, and the words that bring it up."""


def _read(settings: Settings, params: Mapping[str, Any]) -> _Known:
    from lab import live, recipe

    read = recipe.read(params["topology"], params["params"])
    name = live.checked_name(params["name"] or read.topology.name)
    return name, {node.name: node.kind for node in read.topology.nodes.values()}, read.source.name, settings.argv


def _named(settings: Settings, params: Mapping[str, Any]) -> _Known:
    """By its file where nobody says otherwise."""
    from lab import live

    topology = str(params["topology"])
    name = live.checked_name(params["name"] or Path(topology).stem)
    return name, {}, topology, (*settings.argv, *(() if params["name"] else ("--name", name)))


def _kernel(settings: Settings) -> Kernel:
    """The one that was named, or where that is none for a stranger's work the one that runs instead."""
    from lab import kernels
    from lab.guest import choose

    assert settings.kernel is not None
    named = kernels.find(settings.kernel)
    found = choose.for_a_stranger(named) if settings.untrusted else named
    if found is not named and settings.verbosity >= 0:
        say(f"lab: {found.release} in QEMU instead of {named.name}: {choose.WHY_NOT_UML}")
    return found


# Guests that live on.


def _guest_of(lab: str) -> Kept | None:
    from lab import state

    if not (state.root() / "guests").is_dir():
        return None
    from lab.guest import kept

    return kept.find(lab)


def _in_kept(settings: Settings, found: Kept, name: str, params: Mapping[str, Any]) -> int:
    from lab.guest import kept
    from lab.guest.session import Job

    if name == "down":
        kept.end(found)
        if settings.json:
            envelope("down", {"name": found.lab})
        elif settings.verbosity >= 0:
            print(f"lab {found.lab} is gone")
        return 0
    try:
        return kept.run(found, Job(settings.argv, keys=name in _READS, results=list(written_by(params))))
    except LabError as error:
        if name not in _READS:
            raise
        say(f"lab: {error}")
        return _CANNOT_RUN


def labs() -> list[Summary]:
    """Those that live in guests, for `ls`."""
    from lab.guest import kept
    from lab.live import Summary

    return [
        Summary(
            name=each.lab,
            status="up" if each.lives() else "dead",
            nodes=len(each.nodes),
            source=each.source,
            created=each.created,
            uuid=each.id,
            ephemeral=False,
            kernel=each.release,
        )
        for each in kept.kept()
    ]


def prune(told: Callable[[str, str], object]) -> list[dict[str, Any]]:
    """Guests that have ended."""
    from lab.guest import kept

    return kept.prune(told)


def wishes(settings: Settings, params: Mapping[str, Any]) -> Wishes:
    """Raises TopologyError where a stranger's files are none that are shared."""
    from lab.guest.choose import Wishes

    untrusted = _inputs(params) if settings.untrusted else None
    return Wishes(memory=settings.memory, cpus=settings.cpus, warp=settings.warp, untrusted=untrusted)


def _inputs(params: Mapping[str, Any]) -> tuple[Path, ...]:
    """Of a stranger, as the words of the call name them."""
    from lab.guest import inputs

    topology, scenarios = params.get("topology"), params.get("scenario") or ()
    return (*(inputs.of_topology(str(topology)) if topology else ()), *inputs.of_scenarios(scenarios))


def tell(settings: Settings, words: str, shown: contextlib.ExitStack) -> None:
    """A line that says which guest is booted, and one on a terminal while it is."""
    from lab.cli import progress

    if settings.verbosity >= 0:
        say(f"lab: kernel {words}")
    shown.enter_context(progress.line(settings, lambda: f"booting kernel {words}"))


def written_by(params: Mapping[str, Any]) -> Iterator[Path]:
    """The files and folders that options of the call name as places to write to; `-` is stdout."""
    yield from (value for value in params.values() if isinstance(value, Path) and str(value) != "-")
