"""Containers while a lab is made: what lacks for them, started and written down, let go, and seen to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab import state
from lab.errors import HostError, Problem, StepError
from lab.recipe import bind_source, in_file_order
from lab.steps import OpenGate, RunCommand, StartContainer
from lab.substrate import userns
from lab.substrate.contained import Contained, ContainerError, Wish, container_name, release
from lab.substrate.containers import NAME, NODE, ROOT, UUID, Docker
from lab.substrate.processes import CommandError

if TYPE_CHECKING:
    from lab.model.container import Container as Wished
    from lab.recipe import Recipe
    from lab.services.container import Container
    from lab.state import Home, Record

_AS_ROOT = "run it as root: Docker's containers are not of this user namespace"


def missing(recipe: Recipe, pull: bool) -> list[Problem]:
    """Images that Docker has not, each at its place; those that may be pulled are not missing, and with `pull` they are."""
    if not userns.is_initial():
        return [Problem("containers cannot be made without root", _AS_ROOT)]
    wanted = [node.container for node in recipe.topology.nodes.values() if node.container]
    try:
        with Docker() as docker:
            lacking = [each for each in wanted if not _there(docker, each, pull)]
    except HostError as error:
        return list(error.problems)
    return in_file_order(
        Problem(
            f"Docker has no image {each.image}",
            f"bring it: docker pull {each.image}; or write pull: true beside it",
            recipe.document.place(each.where("image")),
        )
        for each in lacking
    )


def _there(docker: Docker, container: Wished, pull: bool) -> bool:
    if docker.image(container.image) is not None:
        return True
    if container.pull and pull:
        docker.pull(container.image)
    return container.pull


def start(
    home: Home, record: Record, steps: Sequence[StartContainer], folder: Path | None, told: Callable[[StartContainer], object]
) -> Mapping[str, Contained]:
    """All side by side, each behind its gate, by node; written down before and after. `folder` is the topology's. Raises
    HostError, StepError and, where a bind has come to lead elsewhere, TopologyError."""
    by_node = {step.node: step for step in steps}
    wishes = [_wish(home, record, step, folder) for step in steps]
    with Docker() as docker:
        state.announce_containers(home, {each.name: each.container.image for each in wishes}, docker.which)
        started = docker.start_all(
            wishes, lambda wish: told(by_node[wish.node]), lambda wish: home.note("container", name=wish.name)
        )
    for node, contained in started.items():
        contained.write(home.node(node))
    return started


def _wish(home: Home, record: Record, step: StartContainer, folder: Path | None) -> Wish:
    return Wish(
        name=container_name(record.uuid, step.node),
        node=step.node,
        labels={NAME: record.name, UUID: record.uuid, NODE: step.node, ROOT: str(home.path.parent)},
        container=step.container,
        folder=home.node(step.node),
        sources=tuple(bind_source(folder, bind) for bind in step.container.binds),
        lacking=step.lacking,
        words=step.describe(),
    )


def let_go(home: Home, step: OpenGate | RunCommand, run: Callable[[tuple[str, ...]], object]) -> None:
    """Opens a gate, or has a command `run` in a container. Raises StepError, with what was said last."""
    try:
        if isinstance(step, RunCommand):
            run(step.argv)
        else:
            folder = home.node(step.node)
            release(Contained.read(folder), folder)
    except (CommandError, ContainerError) as error:
        raise StepError(step.describe(), step.node, why=str(error)) from error
    except FileNotFoundError as error:
        why = f"the container has no program {error.filename}"
        raise StepError(step.describe(), step.node, error.errno or 0, why=why) from error


def check(containers: Iterable[Container]) -> None:
    """A command that cannot be executed, or ends at once, ends the lab's making. Raises StepError."""
    for each in containers:
        if (found := each.state()).died:
            why = f"its command {found}: it has to stay in the foreground\n{each.last_lines()}"
            raise StepError("see that the container goes on", each.node, why=why)
