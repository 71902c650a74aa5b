"""The command debug: an experiment in a guest that waits for gdb."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli import guests
from lab.cli.options import Settings, common, sets, settings
from lab.cli.show import say
from lab.errors import TopologyError

if TYPE_CHECKING:
    from lab.guest.choose import Wishes
    from lab.guest.symbols import Symbols
    from lab.kernels import Kernel

_KALLSYMS = Path("/proc/kallsyms")
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("scenario", nargs=-1)
@sets
@click.option("--slow", is_flag=True, help="Also run what is marked slow.")
@click.option("--names", type=_file, hidden=True, help="In a guest: write there what its kernel says of its symbols.")
@common
@settings
def debug(settings: Settings, scenario: tuple[str, ...], params: dict[str, object], slow: bool, names: Path | None) -> int:
    """Run an experiment in a guest whose kernel waits for gdb.

    The guest is made by QEMU in software, with one processor, and stands still before its first instruction. What is printed
    is the one line that attaches gdb to it, in another terminal: set breakpoints, then `continue`. The experiment runs as with
    `lab run`; while gdb holds the kernel its clock stands too, so that nothing is late. `detach` lets it run on alone; Ctrl-C
    here ends all.

    The symbols are made of what the kernel says of itself, which takes one boot more the first time: names of functions and
    variables, all types, and the arguments of a function where it begins. Lines and local variables are there where the kernel
    is named by its build tree with a vmlinux that has them, or Debian's linux-image-...-dbg is installed here. What lies in
    modules has no names.

    User-mode Linux has no place for gdb to attach to: name a kernel that QEMU runs.

    \b
    Example:
        lab debug --kernel 6.1 rp-filter
        lab debug --kernel ~/linux ./test_mine.py --set members=5

    \b
    And in gdb:
        break arp_process
        continue
        print skb->dev->name

    See also: lab run, lab kernels
    """
    if not os.environ.get(guests.INSIDE):
        return _outside(settings, scenario)
    if names:
        names.write_text(_KALLSYMS.read_text())
        return 0
    from lab import runner

    return runner.run(scenario, sets=params, slow=slow, format=settings.format, verbosity=settings.verbosity)


def _outside(settings: Settings, scenario: Sequence[str]) -> int:
    """What can be found wrong is told before anything is booted."""
    if settings.kernel in (None, guests.HOST):
        raise TopologyError("debug holds the kernel of a guest, and none is named", "name one: --kernel 6.1")
    from lab import guest, kernels, runner
    from lab.guest import choose
    from lab.kernels import cache

    assert settings.kernel is not None
    runner.targets(scenario)
    kernel, wished = kernels.find(settings.kernel), guests.wishes(settings, {})
    with cache.scratch(cache.root()) as folder, contextlib.ExitStack() as shown:
        socket = folder / "gdb"
        wished = dataclasses.replace(wished, debugger=socket)
        choose.substrates(kernel, wished)
        symbols = _symbols(settings, kernel, wished)

        def tell(words: str) -> None:
            _tell(settings, words, symbols, socket, shown)

        status = guest.run(kernel, settings.argv, wishes=wished, tell=tell, ready=shown.close)
    settings.decided()
    return status


def _symbols(settings: Settings, kernel: Kernel, wished: Wishes) -> Symbols:
    from lab import guest
    from lab.guest import choose, symbols
    from lab.guest.spec import Substrate
    from lab.kernels import cache

    def names() -> str:
        with cache.scratch(cache.root()) as folder, contextlib.ExitStack() as shown:
            file, plain = folder / "kallsyms", dataclasses.replace(wished, debugger=None)
            guest.run(
                kernel,
                ["debug", "--names", str(file)],
                report=[file],
                wishes=plain,
                tell=lambda words: guests.tell(settings, f"{words}, to ask for its symbols, once", shown),
                ready=shown.close,
            )
            return file.read_text() if file.exists() else ""

    image = choose.guest(kernel, wished, Substrate.TCG).image
    return symbols.find(kernel, image, names)


def _tell(settings: Settings, words: str, symbols: Symbols, socket: Path, shown: contextlib.ExitStack) -> None:
    """The line for gdb is said also where little is: without it nobody can go on."""
    from lab.cli import progress

    if settings.verbosity >= 0:
        say(f"lab: kernel {words}")
        say(f"lab: it waits for gdb. Symbols: {symbols.words}")
    say(shlex.join(("gdb", "-q", str(symbols.file), "-ex", f"target remote {socket}")))
    shown.enter_context(progress.line(settings, lambda: "waiting for gdb"))


COMMANDS: tuple[Any, ...] = (debug,)
