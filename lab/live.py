"""A living lab: `Lab.up` makes one from a recipe, or leaves nothing; `Lab.attach` finds one; `down` undoes it.

What is wished (recipe, plan) ends here and what runs begins: nodes with namespaces, processes and sockets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from lab import host, state, undo
from lab.errors import HostError, TopologyError
from lab.node import Node
from lab.state import Home, Record
from lab.substrate import signals

if TYPE_CHECKING:
    from lab.model import Topology
    from lab.observe.capture import Interface
    from lab.observe.explain.watch import Explainer
    from lab.observe.wire import Wire
    from lab.plan import Plan, Stage
    from lab.recipe import Recipe
    from lab.roles.spec import ServiceSpec
    from lab.services.container import Container
    from lab.services.living import Service
    from lab.steps import StartContainer, Step
    from lab.substrate.contained import Contained
    from lab.substrate.inits import Init
    from lab.substrate.ovsdb import Switch
    from lab.substrate.spawner import Spawner

_READY_WITHIN = 15.0  # seconds until carriers are there and detection of duplicates is done
_FREE_WITHIN = 10.0  # seconds that `down` waits for another command that works on the lab

_SERVICES = "services.json"


class Lab:
    """A lab that is up. A context manager: it goes down at the end of the block, whatever happened in it."""

    def __init__(self, home: Home, record: Record, owned: bool, specs: tuple[ServiceSpec, ...] = ()) -> None:
        """`owned`: by this process, which made it; `specs` are the services that it has."""
        self._home, self.record, self._owned, self._specs = home, record, owned, specs
        self.name, self.directory = record.name, home.path
        make = self._node
        self.nodes: Mapping[str, Node] = MappingProxyType({name: make(name) for name in record.nodes})
        self._spawner: Spawner | None = None
        self._helpers = ExitStack()
        self.captures: list[Wire] = []
        """Every capture that was made of it, in order, for who reports of it."""

    @classmethod
    def up(
        cls,
        source: str | Path | Recipe,
        *,
        name: str | None = None,
        params: Mapping[str, object] | None = None,
        wait: bool = True,
        detach: bool = False,
        on_step: Callable[[Step], None] | None = None,
    ) -> Lab:
        """Builds the lab that a file, a shipped topology or a recipe describes.

        `wait`: until carriers are there, its IPv6 addresses are usable and its services are ready. `detach`: it outlives this
        process. `on_step` is told each step before it is done. Raises TopologyError, HostError, StepError; then nothing is
        left.
        """
        recipe = _recipe(source, params)
        host.require_root()
        plan = host.plan(recipe)
        record = _record(recipe, checked_name(recipe.topology.name if name is None else name), ephemeral=not detach)
        lab: Lab | None = None
        try:
            with signals.held_back(), state.locked_root():
                undo.sweep(record.name)
                lab = cls(state.claim(record, recipe.rendered), record, owned=True, specs=recipe.services)
            lab._build(plan, wait, on_step, recipe)
            with signals.held_back():
                lab._home.note("up")
                if detach:
                    lab._home.release()
        except BaseException:
            with signals.held_back():
                if lab is not None:
                    lab.down()
            raise
        return lab

    @classmethod
    def attach(cls, name: str) -> Lab:
        """The lab of that name, made by whichever process. Raises TopologyError where there is none that is up."""
        home = find(name)
        if not home.is_up():
            raise TopologyError(f"lab {name!r} is not up", "its making or its teardown was cut off: `lab prune` removes it")
        return cls(home, home.record(), owned=False, specs=_deployed_services(home))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def __getitem__(self, node: str) -> Node:
        try:
            return self.nodes[node]
        except KeyError:
            hint = f"its nodes are {', '.join(self.nodes)}"
            raise TopologyError(f"lab {self.name} has no node {node!r}", hint) from None

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __repr__(self) -> str:
        return f"<Lab {self.name}: {len(self.nodes)} nodes in {self.directory}>"

    @property
    def rendered(self) -> str:
        """The file as it was deployed."""
        return (self.directory / "topology.yaml").read_text()

    @cached_property
    def topology(self) -> Topology:
        """What was deployed, from the record and not from the file, which may have changed since."""
        from lab import recipe

        return recipe.read_rendered(self.directory / "topology.yaml").topology

    def down(self) -> None:
        """Undoes everything; already gone is success. Raises TeardownError, HostError where somebody else works on it."""
        try:
            take_down(self._home, self.name)
        finally:
            self._helpers.close()  # after the inits, whose parent one is: it reaps them

    def interfaces(self, *where: str) -> list[Interface]:
        """`NODE:DEVICE` of each, for a capture. Raises TopologyError."""
        from lab.observe.capture import Interface

        found = []
        for each in where:
            node, colon, device = each.partition(":")
            if not (colon and device):
                raise TopologyError(f"{each!r} is no interface of a node", "write NODE:INTERFACE, such as client:eth0")
            found.append(Interface(node, device, self[node].ns))
        return found

    def capture(self, *where: str, filter: str = "") -> Wire:
        """What passes interfaces (`NODE:DEVICE`) inside a `with` block, with expectations: see `lab.observe.wire`. `filter` as
        in pcap-filter(7). Raises TopologyError and HostError."""
        from lab.observe.wire import Wire

        self.captures.append(Wire(self.interfaces(*where), filter))
        return self.captures[-1]

    def explain(self) -> Explainer:
        """What the kernel drops in the lab inside a `with` block, each with the setting that makes it do so: see
        `lab.observe.explain.watch`."""
        from lab.observe.explain.watch import Explainer

        return Explainer({node.name: node.ns for node in self})

    @property
    def services(self) -> Iterator[Service]:
        """Those of every node, in the file's order."""
        return (service for node in self for service in node.services.values())

    def wait_ready(self, timeout: float = _READY_WITHIN) -> None:
        """Until every raised veth has its carrier, every address of the file is usable and every service is ready, `timeout`
        seconds at the most. Raises StepError."""
        deadline = time.monotonic() + timeout
        self._wait_for_links(self.topology, timeout)
        for service in self.services:
            service.wait_ready(deadline - time.monotonic())

    def switches(self) -> Mapping[str, Switch]:
        """The Open vSwitches by their nodes' names, as their databases have them; without those that nobody serves."""
        nodes = [name for name, kind in self.record.nodes.items() if kind == "ovs"]
        if not nodes:
            return {}
        from lab.substrate import ovsdb

        found = {name: ovsdb.read(self._home.node(name) / "run" / ovsdb.SOCKET) for name in nodes}
        return {name: switch for name, switch in found.items() if switch}

    def _wait_for_links(self, topology: Topology, timeout: float) -> None:
        from lab.observe import ready

        ready.wait(topology, self._home.ns, timeout)

    def _build(self, plan: Plan, wait: bool, on_step: Callable[[Step], None] | None, recipe: Recipe) -> None:
        """Services that the network itself is made of are waited for in any case."""
        from lab.substrate.build import Builder

        home, (first, *rest) = self._home, plan.stages
        containers = self._start_containers(plan.containers, on_step, recipe)
        builder = Builder(home.ns, on_step, lambda node: home.node(node) / "run", lambda node: containers[node].netns)
        try:
            links = state.announce_links(home, self.name, self.record.nodes)
            builder.run(first.network, meanwhile=lambda: state.link_namespaces(home, links))
        except FileExistsError as error:
            what = f"{error.filename2 or error.filename} exists already and is not of this lab"
            raise HostError(what, "remove it, or choose another name with --name") from error
        self._note_services()
        for stage in rest:
            self._start_services(first, True, on_step)
            builder.run(stage.network)
            first = stage
        if wait:
            self._wait_for_links(plan.topology, _READY_WITHIN)
        self._start_services(first, wait, on_step)
        self._let_go(plan, on_step or (lambda _: None))

    def _start_containers(
        self, steps: Sequence[StartContainer], on_step: Callable[[Step], None] | None, recipe: Recipe
    ) -> Mapping[str, Contained]:
        if not steps:
            return {}
        from lab.services import containing

        return containing.start(self._home, self.record, steps, recipe.source.folder, on_step or (lambda _: None))

    def _let_go(self, plan: Plan, on_step: Callable[[Step], object]) -> None:
        """Of containers: their commands, and what runs in them beside."""
        if not plan.containers:
            return
        from lab.services import containing

        for step in plan.commands:
            on_step(step)
            containing.let_go(self._home, step, self.nodes[step.node].run)
        containing.check(each.container for each in self if each.container)

    def _note_services(self) -> None:
        if self._specs:
            from lab.services import layout

            layout.write(self._home.path / _SERVICES, self._specs)

    def _start_services(self, stage: Stage, wait: bool, on_step: Callable[[Step], None] | None) -> None:
        if not stage.services:
            return
        from lab.services import start

        steps = {(step.node, step.service.name): step for step in stage.services}
        told = (lambda service: on_step(steps[service.spec.node, service.name])) if on_step else (lambda _: None)
        start.start_all((each for each in self.services if (each.spec.node, each.name) in steps), wait, told)

    def _node(self, name: str) -> Node:
        where, services = self._home.ns(name), lambda: self._services(name)
        if self.record.nodes[name] != "container":
            return Node(name, self.name, where, lambda: self._init(name), services)
        from lab.services.container import Container

        contained = Container(name, self._home.node(name))
        return Node(name, self.name, where, lambda: self._init_in(contained), services, contained)

    def _init_in(self, container: Container) -> Init:
        """Of commands in a container; its services, which are programs of this host, have another."""
        folder = self._home.node(container.node) / "inside"
        folder.mkdir(exist_ok=True)
        home, detached = self._home, not (self._owned and self.record.ephemeral)
        contained = container.contained
        return self._spawning().join(contained, folder, lambda made: home.note("init", record=made.to_dict()), detached)

    def _spawning(self) -> Spawner:
        from lab.substrate import spawner

        if self._spawner is None:
            self._spawner = spawner.taken(self._helpers)
        return self._spawner

    def _specs_of(self, node: str) -> list[ServiceSpec]:
        return [spec for spec in self._specs if spec.node == node]

    def _services(self, node: str) -> Mapping[str, Service]:
        specs = self._specs_of(node)
        if not specs:
            return MappingProxyType({})
        from lab.services.living import Service

        where = self._home.ns(node), self._home.node(node), lambda: self._init(node)
        return MappingProxyType({spec.name: Service(spec, *where) for spec in specs})

    def _init(self, node: str) -> Init:
        home, folder = self._home, self._home.node(node)
        folder.mkdir(exist_ok=True)
        return self._spawning().init(
            node,
            home.ns(node),
            home.path,
            folder,
            lambda made: home.note("init", record=made.to_dict()),
            detached=not (self._owned and self.record.ephemeral),
            own=self._own_directories(node),
        )

    def _own_directories(self, node: str) -> Mapping[str, Path]:
        specs = self._specs_of(node)
        if not specs:
            return {}
        from lab.services import layout

        return layout.furnish(self._home.node(node), specs)


@dataclass(frozen=True, slots=True)
class Summary:
    """One lab of this host. `status`: up, busy (somebody works on it), dead (`prune` removes it), or unknown to who may not
    read its journal."""

    name: str
    status: str
    nodes: int
    source: str
    created: float
    uuid: str
    ephemeral: bool
    kernel: str = ""
    """The release of the guest's kernel, where it lives in one."""


def labs() -> list[Summary]:
    """Every lab of this host, by name."""
    found = []
    for home in state.homes():
        try:
            record = home.record()
        except (OSError, ValueError):
            continue
        found.append(
            Summary(record.name, _status(home), len(record.nodes), record.source, record.created, record.uuid, record.ephemeral)
        )
    return sorted(found, key=lambda summary: summary.name)


def _status(home: Home) -> str:
    try:
        return "dead" if undo.why_dead(home) else "up" if home.is_up() else "busy"
    except PermissionError:
        return "unknown"


def find(name: str) -> Home:
    """The home of a lab. Raises TopologyError with the names that there are."""
    home = state.find(name)
    if home is None:
        names = ", ".join(summary.name for summary in labs())
        raise TopologyError(f"there is no lab named {name!r}", f"labs of this host: {names}" if names else "no lab is up")
    return home


def take_down(home: Home, name: str) -> None:
    """Tears a home down, once whoever works on it has finished."""
    locked = home.lock_within(_FREE_WITHIN)
    if not home.path.exists():  # whoever worked on it took it down
        home.release()
        return
    if not locked:
        hint = "it is being made, taken down, or it belongs to a running test: end that first"
        raise HostError(f"another process works on lab {name!r}", hint)
    undo.teardown(home)


def unique_name(base: str) -> str:
    """A name for a lab of a test's own, so that the same topology runs side by side with itself."""
    return f"{base[:23]}-{os.urandom(4).hex()}"


def checked_name(name: str) -> str:
    """Raises TopologyError where `name` cannot be a lab's."""
    if not state.LAB_NAME.match(name):
        hint = "write up to 32 letters, digits, _ or -, a letter or digit first"
        raise TopologyError(f"{name!r} cannot be the name of a lab", hint)
    return name


def _record(recipe: Recipe, name: str, ephemeral: bool) -> Record:
    return Record(
        name=name,
        uuid=state.new_uuid(),
        source=recipe.source.name,
        params=dict(recipe.document.params),
        nodes={node.name: node.kind for node in recipe.topology.nodes.values()},
        created=time.time(),
        ephemeral=ephemeral,
    )


def _recipe(source: str | Path | Recipe, params: Mapping[str, object] | None) -> Recipe:
    from lab import recipe

    return recipe.read(source, params) if isinstance(source, (str, Path)) else source


def _deployed_services(home: Home) -> tuple[ServiceSpec, ...]:
    path = home.path / _SERVICES
    if not path.exists():
        return ()
    from lab.services import layout

    return layout.read(path)
