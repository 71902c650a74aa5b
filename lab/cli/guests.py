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
    from lab.live import Summary

HOST = "host"
INSIDE = "LAB_GUEST"
"""Set in a guest, to the release of its kernel."""
_IN_A_GUEST = frozenset({"run", "validate", "doctor"})
"""What a guest of its own is booted for, beside `up`; other commands do not depend on the kernel."""
_SHOWN = frozenset({"run", "up", "debug", "validate", "doctor"})
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
    if name in _IN_A_GUEST and settings.kernel not in (None, HOST):
        return in_one(settings, context.params)
    if "lab" in context.params and (found := _guest_of(str(context.params["lab"]))):
        return _in_kept(settings, found, name or "", context.params)
    if name == "up" and settings.kernel not in (None, HOST):
        return _up(settings, context.params)
    if name in _IN_A_GUEST | {"up"} and settings.kernel is None and settings.warp:
        raise TopologyError("--warp is about a guest's clock, and no kernel is named", "name one: --kernel 6.1")
    return None


def in_one(settings: Settings, params: Mapping[str, Any]) -> int:
    """Runs the command of this call in a guest of its own."""
    from lab import guest

    assert settings.kernel is not None
    with contextlib.ExitStack() as shown:
        status = guest.run(
            settings.kernel,
            settings.argv,
            report=list(written_by(params)),
            wishes=wishes(settings),
            tell=lambda words: tell(settings, words, shown),
            ready=shown.close,
        )
    settings.decided()
    return status


def _up(settings: Settings, params: Mapping[str, Any]) -> int:
    """A lab in a guest that lives until `down`. What is wrong with the file is told before anything is booted."""
    from lab import kernels, live, recipe
    from lab.guest import kept
    from lab.guest.once import Limits

    read = recipe.read(params["topology"], params["params"])
    name = live.checked_name(params["name"] or read.topology.name)
    nodes = {node.name: node.kind for node in read.topology.nodes.values()}
    assert settings.kernel is not None
    kernel = kernels.find(settings.kernel)
    with contextlib.ExitStack() as shown:
        wished = wishes(settings)
        told = functools.partial(tell, settings, shown=shown)
        status = kept.up(kernel, wished, name, nodes, read.source.name, settings.argv, Limits(), told, shown.close)
    settings.decided()
    return status


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


def wishes(settings: Settings) -> Wishes:
    from lab.guest.choose import Wishes

    return Wishes(memory=settings.memory, warp=settings.warp)


def tell(settings: Settings, words: str, shown: contextlib.ExitStack) -> None:
    """A line that says which guest is booted, and one on a terminal while it is."""
    from lab.cli import progress

    if settings.verbosity >= 0:
        say(f"lab: kernel {words}")
    shown.enter_context(progress.line(settings, lambda: f"booting kernel {words}"))


def written_by(params: Mapping[str, Any]) -> Iterator[Path]:
    """The files and folders that options of the call name as places to write to; `-` is stdout."""
    yield from (value for value in params.values() if isinstance(value, Path) and str(value) != "-")
