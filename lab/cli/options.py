"""What every command shares: the global options, before or after its name, and how KEY=VALUE is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """`format` is table or json; `verbosity` -1 (quiet), 0 or 1 (every step)."""

    format: str = "table"
    verbosity: int = 0
    decided: Callable[[], None] = lambda: None
    """To be called once the outcome stands: an interrupt that comes later undoes nothing any more."""
    argv: tuple[str, ...] = ()
    """The words of the call, behind `lab`."""
    kernel: str | None = None
    """None where nobody named one; `host` for the one that runs."""
    memory: int | None = None
    """MiB of a guest."""
    cpus: int | None = None
    """Processors of a guest."""
    warp: bool = False
    untrusted: bool = False
    """What the command is about is a stranger's."""

    @property
    def json(self) -> bool:
        return self.format == "json"


def _format(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Settings).format = value


def _verbose(context: click.Context, _: click.Parameter, value: bool | None) -> None:
    if value:
        context.ensure_object(Settings).verbosity = 1


def _quiet(context: click.Context, _: click.Parameter, value: bool | None) -> None:
    if value:
        context.ensure_object(Settings).verbosity = -1


def _of_guest(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """What the command line says wins over a variable, before the command's name as behind it."""
    if value is None or value is False or parameter.name is None:
        return
    settings = context.ensure_object(Settings)
    said = context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if said or not getattr(settings, parameter.name):
        setattr(settings, parameter.name, value)


def _guest_option(name: str, about: str, hidden: bool, **more: Any) -> Callable[[F], F]:
    variable = f"LAB_{name.strip('-').upper()}"
    return click.option(
        name, callback=_of_guest, expose_value=False, envvar=variable, show_envvar=True, help=about, hidden=hidden, **more
    )


def in_guests(command: F, hidden: bool = False) -> F:
    """Adds the options about the kernel that a command runs on; `hidden` where they are for another command beside it."""
    for option in (
        _guest_option("--untrusted", "The guest sees nothing of yours; for a stranger's files.", hidden, is_flag=True),
        _guest_option("--warp", "Virtual time in the guest: waiting costs nothing.", hidden, is_flag=True),
        _guest_option("--memory", "Memory of the guest in MiB; 1024 otherwise.", hidden, type=int, metavar="MIB"),
        _guest_option(
            "--cpus",
            "Processors of the guest; otherwise 1, with KVM 2.",
            hidden,
            type=click.IntRange(1, 64),
            metavar="N",
        ),
        _guest_option("--kernel", "Run in a guest with this kernel; `host`: with none.", hidden, metavar="NAME"),
    ):
        command = option(command)
    return command


def _flag(short: str, long: str, callback: Callable[..., None], variable: str, about: str) -> Callable[[F], F]:
    return click.option(
        short, long, is_flag=True, callback=callback, expose_value=False, envvar=variable, show_envvar=True, help=about
    )


def common(command: F, format_flags: tuple[str, ...] = ("-f", "--format")) -> F:
    """Adds the global options; each has an environment variable, LAB_FORMAT, LAB_VERBOSE, LAB_QUIET."""
    for option in (
        _flag("-q", "--quiet", _quiet, "LAB_QUIET", "Say less."),
        _flag("-v", "--verbose", _verbose, "LAB_VERBOSE", "Say each step."),
        click.option(
            *format_flags,
            type=click.Choice(["table", "json"]),
            callback=_format,
            expose_value=False,
            is_eager=True,  # before another option is found wrong: that is told in this format already
            envvar="LAB_FORMAT",
            show_envvar=True,
            help="How results are printed on stdout; table otherwise.",
        ),
    ):
        command = option(command)
    return command


def common_but_f(command: F) -> F:
    """The same where `-f` means something else: to follow."""
    return common(command, ("--format",))


def common_but_format(command: F) -> F:
    """The same where `--format` means something else: `-f` alone."""
    return common(command, ("-f",))


def _assignments(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        found[key] = value
    return found


sets = click.option(
    "--set",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_assignments,
    help="Set a parameter of the topology; may be repeated.",
)


def asks_for_json(argv: Sequence[str]) -> bool:
    """Whether the words of a call that could not be parsed say -f json, before a `--`."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    said = [word.partition("=")[2] for word in words if word.startswith("--format=")]
    said += [word[2:] for word in words if word.startswith("-f") and len(word) > 2]
    said += [value for word, value in pairwise(words) if word in ("-f", "--format")]
    return "json" in said


settings = click.make_pass_decorator(Settings, ensure=True)
