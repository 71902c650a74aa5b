"""What may stand at a place of the command line, for the completion of shells; answered without root and in milliseconds.

Nothing here may import what costs: the answer to one press of a key would wait for it. Whatever is broken (a record, a
topology) has no names, and breaks nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from lab.errors import LabError
from lab.observe import spoken

_YAML = (".yaml", ".yml")

if TYPE_CHECKING:
    Items = list[CompletionItem[str]]


class _Words(StringParamType):
    """A text, whatever it is; `names` are those that it can be, as far as one knows, each with a word about it."""

    def names(self, context: click.Context, begun: str) -> Iterable[tuple[str, str]]:
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        found = self.names(ctx, incomplete)
        return [CompletionItem(name, help=said or None) for name, said in found if name.startswith(incomplete)]


class Labs(_Words):
    """Names of labs on this host."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        for record in records():
            nodes = record["nodes"]
            yield record["name"], f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"


class Nodes(_Words):
    """Nodes of the lab that was named before."""

    def names(self, context: click.Context, begun: str) -> Iterable[tuple[str, str]]:
        return nodes_of(context.params.get("lab")).items()


class Topologies(_Words):
    """Shipped topologies, and files of this directory or the one that was begun to be named."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        from lab.topology.shipped import shipped_topologies

        yield from ((name, "shipped") for name in shipped_topologies())
        yield from ((file, "") for file in _files(begun, _YAML))


class Subjects(_Words):
    """What can be drawn: labs, and topologies."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        yield from Labs().names(context, begun)
        yield from Topologies().names(context, begun)


class Scenarios(_Words):
    """Shipped scenarios, and test files."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        from lab import scenarios

        yield from ((scenarios.name_of(path), "shipped") for path in scenarios.FOLDER.glob("[!_]*.py"))
        yield from ((file, "") for file in _files(begun, (".py",)))


class Parameters(_Words):
    """KEY= of the topology, or of those of the scenarios, that were named before; then the values that are known."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        for param in _parameters(context):
            values = param.choices or ((True, False) if param.type == "bool" else ())
            if begun.startswith(f"{param.name}="):
                yield from ((f"{param.name}={_written(value)}", "") for value in values)
            else:
                yield f"{param.name}=", f"{param.type}, {_written(param.default)} otherwise"


class Conditions(_Words):
    """The words of a condition, one after another; see `lab.observe.spoken`."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        said = [*(context.params.get("condition") or ())]
        if not said:
            yield spoken.READY, "carriers and addresses of the whole lab"
            yield from nodes_of(context.params.get("lab")).items()
            return
        rest = said[1:]
        if not rest:
            yield spoken.GONE, "the opposite of what follows"
        if rest in ([], [spoken.GONE]):
            yield from spoken.KINDS.items()
        elif rest[-1] == "listening":
            yield from ((f"{protocol}/", "") for protocol in spoken.PROTOCOLS)
        elif rest[-1] == "route":
            yield spoken.DEFAULT, ""


class Interfaces(_Words):
    """NODE: of the lab that was named before."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        yield from ((f"{node}:", kind) for node, kind in nodes_of(context.params.get("lab")).items())


class Services(_Words):
    """Services of the node that was named before."""

    def names(self, context: click.Context, begun: str) -> Iterator[tuple[str, str]]:
        for each in _services_of(context.params.get("lab")):
            if each.get("node") == context.params.get("node") and isinstance(each.get("name"), str):
                yield each["name"], ""


class Commands(click.types.UnprocessedParamType):
    """The words of a command: a program of the PATH, then files."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        before = [word for word in ctx.params.get(param.name or "") or () if word != "--"]
        if before or not incomplete or "/" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in sorted(_programs(incomplete))]


_BY_NAME: dict[str, Any] = {
    "lab": Labs(),
    "node": Nodes(),
    "topology": Topologies(),
    "scenario": Scenarios(),
    "subject": Subjects(),
    "params": Parameters(),
    "condition": Conditions(),
    "service": Services(),
    "where": Interfaces(),
    "argv": Commands(),
}
"""What a parameter of that name is, in every command."""


def know(command: click.Command) -> None:
    """Gives the parameters of a command their candidates; those that have some of their own keep them."""
    for parameter in command.params:
        plain = isinstance(parameter.type, (StringParamType, click.types.UnprocessedParamType))
        if plain and parameter.name in _BY_NAME:
            parameter.type = _BY_NAME[parameter.name]


def wants_value(command: click.Command, word: str) -> bool:
    """Whether the word is an option of the command that has a value behind it."""
    options = (each for each in command.params if isinstance(each, click.Option) and not each.is_flag)
    return any(word in option.opts for option in options)


def records() -> Iterator[dict[str, Any]]:
    """lab.json of every lab whose name and nodes can be read."""
    from lab import state

    try:
        homes = state.homes()
    except OSError:
        return
    for home in homes:
        try:
            record = json.loads((home.path / "lab.json").read_text())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("name"), str) and isinstance(record.get("nodes"), dict):
            yield {**record, "home": str(home.path)}


def nodes_of(lab: object) -> dict[str, str]:
    """Node -> its kind."""
    found: dict[str, object] = next((record["nodes"] for record in records() if record["name"] == lab), {})
    return {name: kind if isinstance(kind, str) else "" for name, kind in found.items()}


def _services_of(lab: object) -> list[dict[str, Any]]:
    for record in records():
        if record["name"] == lab:
            try:
                found = json.loads((Path(record["home"]) / "services.json").read_text())
            except (OSError, ValueError, RecursionError):
                break
            return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return []


def _files(begun: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Files with such a suffix, and folders with a slash behind them; hidden ones where a dot was begun."""
    folder, slash, name = begun.rpartition("/")
    try:
        with os.scandir((folder or slash) if slash else ".") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if entry.name.startswith(".") and not name.startswith("."):
            continue
        if entry.is_dir():
            yield f"{folder}{slash}{entry.name}/"
        elif entry.name.endswith(suffixes):
            yield f"{folder}{slash}{entry.name}"


def _parameters(context: click.Context) -> list[Any]:
    """Declared in the head of the named files, each once."""
    from lab.topology import params, split
    from lab.topology.source import read_source

    found: dict[str, Any] = {}
    for name in _topologies(context):
        try:
            found |= params.declare(split.split(read_source(name))[1])[0]
        except LabError:
            continue
    return list(found.values())


def _topologies(context: click.Context) -> Iterator[str]:
    if topology := context.params.get("topology") or context.params.get("subject"):
        yield topology
    named = context.params.get("scenario")
    if named is None:
        return
    from lab import scenarios

    for scenario in scenarios.shipped().values():
        if not named or scenario.name in [name.partition("::")[0] for name in named]:
            yield from scenario.topologies


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _programs(begun: str) -> set[str]:
    found: set[str] = set()
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - thousands of names of which a few count
        except OSError:
            continue
        found |= {name for name in names if name.startswith(begun) and os.access(Path(folder, name), os.X_OK)}
    return found
