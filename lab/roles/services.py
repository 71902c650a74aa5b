"""A topology's services -> `ServiceSpec`s, in the order of the file; all problems at once, each at its place there.

what is written ──> role and parameters ──> files and words rendered, all in one child ──> ServiceSpec
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from lab.errors import Problem, TopologyError
from lab.model import Topology
from lab.model.file import Command, Ready
from lab.model.file import Role as Wished
from lab.model.parse import told
from lab.model.topology import MOST_FAULTS, Path
from lab.roles.catalogue import find, places_of
from lab.roles.context import shared
from lab.roles.declared import is_template
from lab.roles.faults import of_role, said_of
from lab.roles.role import CONTEXT, TEMPLATE, Role
from lab.roles.spec import FOLDER, ServiceSpec
from lab.roles.spec import Ready as ReadySpec
from lab.topology.document import Document
from lab.topology.params import RefusedError, accept
from lab.topology.sandbox import Fault, Filled, Folder, Item, Renderer, Texts
from lab.topology.words import did_you_mean, shown


def services_of(topology: Topology, document: Document) -> tuple[ServiceSpec, ...]:
    """Raises TopologyError. Starts a renderer where a role is used, and only there."""
    return _Reader(topology, document).read()


@dataclass(frozen=True, slots=True)
class _Service:
    """As it is written, and where."""

    node: str
    name: str
    written: Command | Wished
    path: Path


@dataclass(frozen=True, slots=True)
class _Use:
    """A service that a role describes, with the values of all its parameters."""

    service: _Service
    wished: Wished
    role: Role
    values: Mapping[str, Any]

    def item(self) -> Item:
        name = self.service.name
        context = {**self.values, "service": {"name": name, "folder": f"{FOLDER}/{name}"}}
        return Item(self.role.name, self.role.wanted, context, self.service.node)

    def names(self) -> tuple[str, ...]:
        """What its templates can read."""
        return (*self.role.params, *CONTEXT)


class _Reader:
    """Reads one topology's services, and collects what is wrong with them."""

    def __init__(self, topology: Topology, document: Document) -> None:
        self._topology, self._document = topology, document
        self._places = places_of(document.source)
        self._roles: dict[str, Role | TopologyError] = {}
        self._problems: dict[Problem, None] = {}

    def read(self) -> tuple[ServiceSpec, ...]:
        services = [
            _Service(node.name, name, written, node.service_paths[name])
            for node in self._topology.nodes.values()
            for name, written in node.services.items()
        ]
        specs = self._of_roles(services) | {
            (each.node, each.name): _of_command(each, each.written) for each in services if isinstance(each.written, Command)
        }
        if self._problems:
            raise TopologyError(list(self._problems)[:MOST_FAULTS])
        return tuple(specs[each.node, each.name] for each in services)

    def _of_roles(self, services: list[_Service]) -> dict[tuple[str, str], ServiceSpec]:
        wished = [(each, each.written) for each in services if isinstance(each.written, Wished)]
        if not wished:
            return {}
        with Renderer() as renderer:  # it loads Jinja2 while the roles are read
            uses = [use for each, written in wished if (use := self._use(each, written))]
            texts = self._render(renderer, uses) if uses else []
        specs = (self._spec(use, each) for use, each in zip(uses, texts, strict=False))
        return {(spec.node, spec.name): spec for spec in specs if spec}

    # -- what is used

    def _use(self, service: _Service, wished: Wished) -> _Use | None:
        role = self._role(service, wished)
        if role is None:
            return None
        values = self._values(service, wished, role)
        return None if values is None else _Use(service, wished, role, values)

    def _role(self, service: _Service, wished: Wished) -> Role | None:
        name = wished.role or service.name
        if name not in self._roles:
            try:
                self._roles[name] = find(name, self._places)
            except TopologyError as error:
                self._roles[name] = error
        role = self._roles[name]
        if isinstance(role, Role):
            return role
        path, key = ((*service.path, "role"), False) if wished.role else (service.path, True)
        for each in role.problems:
            self._add(each if each.place else replace(each, place=self._document.place(path, key)))
        return None

    def _values(self, service: _Service, wished: Wished, role: Role) -> Mapping[str, Any] | None:
        """Of all parameters; None where one that must be given is not, or where one is wrong."""
        before = len(self._problems)
        values = {each.name: each.default for each in role.params.values()}
        for key, given in wished.params.items():
            path = (*service.path, key)
            if key not in role.params:
                self._tell(path, f"role {role.name} has no parameter {shown(key)}", _known(key, role), key=True)
                continue
            try:
                values[key] = accept(role.params[key], given)
            except RefusedError as refused:
                self._tell(path, f"parameter {key}: {refused.message}", refused.hint)
        for each in role.params.values():
            if each.required and each.name not in wished.params:
                said = f"role {role.name}: parameter {each.name}: a value must be given"
                self._tell(service.path, said, f"write {each.name}: VALUE", key=True)
        return values if len(self._problems) == before else None

    # -- what is made of it

    def _render(self, renderer: Renderer, uses: list[_Use]) -> list[Texts]:
        """What became of each use, as far as the renderer came."""
        folders = {use.role.name: Folder(use.role.templates, _templates(use.role)) for use in uses}
        renderer.send_batch(folders, [use.item() for use in uses], shared(self._topology))
        answer = renderer.answer_batch()
        texts = [] if isinstance(answer, Fault) else answer
        fault = answer if isinstance(answer, Fault) else None if _told(uses, texts) else Fault("time")
        if fault:
            last = uses[max(len(texts) - 1, 0)]
            self._add_all(of_role(fault, last.role, str(last.role.folder), last.names()), last)
        return texts

    def _spec(self, use: _Use, texts: Texts) -> ServiceSpec | None:
        before = len(self._problems)
        files = self._files(use, texts.files)
        words = self._words(use, texts.words)
        if len(self._problems) != before:
            return None
        role, wished, service = use.role, use.wished, use.service
        ready = self._ready(use, words)
        argv = _listed(words, role, "command")
        if not argv or not argv[0]:
            self._tell(service.path, f"role {role.name}: its command has no program", key=True)
        if ready is None or not argv:
            return None
        env = {str(path[1]): text for path, text in words.items() if path[0] == "env"}
        return ServiceSpec(
            node=service.node,
            name=service.name,
            argv=argv,
            env={**env, **wished.env},
            files={**files, **wished.files},
            directories=role.directories,
            owner=role.owner,
            ready=ready,
            timeout=wished.timeout if "timeout" in wished.model_fields_set else role.timeout,
            package=role.package,
            calls=role.calls,
            path=service.path,
        )

    def _files(self, use: _Use, texts: tuple[Filled, ...]) -> dict[str, str]:
        files = dict(use.role.files)
        for name, text in zip(use.role.wanted, texts, strict=False):
            if isinstance(text, str):
                files[name.removesuffix(TEMPLATE)] = text
            else:
                self._add_all(of_role(text, use.role, str(use.role.folder / name), use.names()), use)
        return files

    def _words(self, use: _Use, texts: tuple[Filled, ...]) -> dict[Path, str]:
        """Those without a tag as they are."""
        words = dict(use.role.words)
        made = (path for path, text in words.items() if is_template(text))
        for path, text in zip(list(made), texts, strict=False):
            if isinstance(text, str):
                words[path] = text
            else:
                self._add_all(said_of(text, use.role, path, use.names()), use)
        return words

    def _ready(self, use: _Use, words: Mapping[Path, str]) -> ReadySpec | None:
        if "ready" in use.wished.model_fields_set:
            return _settled(use.wished.ready)
        lists = {key: _listed(words, use.role, "ready", key) for key in ("listen", "answer")}
        data: dict[str, Any] = {key: each for key, each in lists.items() if each}
        data |= {key: text for key in ("file", "line", "counter") if (text := words.get(("ready", key)))}
        try:
            return _settled(Ready.model_validate(data))
        except ValidationError as error:
            for each in told(error, data, Ready):
                self._tell(use.service.path, f"role {use.role.name}: ready: {each.message}", each.hint, key=True)
            return None

    # -- problems

    def _tell(self, path: Path, message: str, hint: str | None = None, key: bool = False) -> None:
        self._add(Problem(message, hint, self._document.place(path, key)))

    def _add(self, problem: Problem) -> None:
        self._problems[problem] = None

    def _add_all(self, problems: Iterator[tuple[str, str | None]], use: _Use) -> None:
        for message, hint in problems:
            self._tell(use.service.path, message, hint, key=True)


def _told(uses: list[_Use], texts: list[Texts]) -> bool:
    """Whether nothing is missing, or the last text is the reason why the rest is."""
    made = [text for each in texts for text in (*each.files, *each.words)]
    wanted = sum(len(use.role.wanted) + len(_templates(use.role)) for use in uses)
    return len(made) == wanted or (bool(made) and isinstance(made[-1], Fault))


def _templates(role: Role) -> tuple[str, ...]:
    return tuple(text for text in role.words.values() if is_template(text))


def _listed(words: Mapping[Path, str], role: Role, *at: str) -> tuple[str, ...]:
    """The words of a list; one whose template left nothing is no word."""
    found = ((path, text) for path, text in words.items() if path[: len(at)] == at)
    return tuple(text for path, text in found if text or not role.words[path])


def _known(key: str, role: Role) -> str:
    if key == "directories":
        return "a role has its own directories; a service with a command: can name some"
    return did_you_mean(key, role.params, "it has: ") or "it has none"


def _of_command(service: _Service, written: Command) -> ServiceSpec:
    return ServiceSpec(
        node=service.node,
        name=service.name,
        argv=written.command,
        env=written.env,
        files=written.files,
        directories=written.directories,
        ready=_settled(written.ready),
        timeout=written.timeout,
        path=service.path,
    )


def _settled(ready: Ready) -> ReadySpec:
    return ReadySpec(ready.listen, ready.file, ready.line, ready.answer or (), ready.counter)
