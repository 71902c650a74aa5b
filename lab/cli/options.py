"""What every command shares: the global options, before or after its name, and how KEY=VALUE is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """`format` is table or json; `verbosity` -1 (quiet), 0 or 1 (every step)."""

    format: str = "table"
    verbosity: int = 0
    decided: Callable[[], None] = lambda: None
    """To be called once the outcome stands: an interrupt that comes later undoes nothing any more."""

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
