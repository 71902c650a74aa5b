"""What a lab costs beside the containers that it is made of: links and addresses against `docker run` alone.

Measured with the daemon that DOCKER_HOST names, or one of the tests' own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kit import Kit, alternate, median
from rows import CannotMeasureError, Figure, Goal, bench, ratio_at_most

if TYPE_CHECKING:
    from support.dockerd import Daemon

CONTAINERS = 16


@bench(
    Goal(f"Lab.up, {CONTAINERS} containers at a switch with addresses; docker run alone, side by side", "s", ratio_at_most(1.3))
)
def containers(kit: Kit) -> list[Figure]:
    """Both in one process of Python, with the same daemon and as many threads."""
    if os.geteuid() or not shutil.which("dockerd"):
        raise CannotMeasureError("as root, with Docker's daemon: apt install docker.io busybox-static")
    with _daemon() as daemon, contextlib.ExitStack() as undo:
        undo.callback(os.environ.pop, "DOCKER_HOST", None)
        os.environ["DOCKER_HOST"] = daemon.host
        file = kit.file("containers.yaml", _topology())
        runs = alternate(kit.times(3), lambda: _lab(file, kit.name("containers")), lambda: _alone(daemon))
    return [Figure(median(runs[0], float), median(runs[1], float))]


@contextlib.contextmanager
def _daemon() -> Iterator[Daemon]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.dockerd import daemon

    with daemon() as made:
        yield made


def _topology() -> str:
    hosts = [f"  c{at}: {{kind: container, image: 'busybox:lab', command: [sleep, '1000']}}" for at in range(CONTAINERS)]
    links = [
        f"  - {{endpoints: [c{at}, lan], nodad: true, addresses: {{c{at}: [10.0.0.{at + 1}/24, 'fd00::{at + 1:x}/64']}}}}"
        for at in range(CONTAINERS)
    ]
    return "\n".join(["name: containers", "nodes:", "  lan: {kind: switch}", *hosts, "links:", *links, ""])


def _lab(file: Path, name: str) -> float:
    from lab import Lab

    begin = time.monotonic()
    with Lab.up(file, name=name):
        return time.monotonic() - begin


def _alone(daemon: Daemon) -> float:
    """What `docker run --detach` asks for: create, and start."""
    with daemon.client() as client, ThreadPoolExecutor(CONTAINERS) as pool:

        def run(_: int) -> str:
            made = client.api.create_container("busybox:lab", ["sleep", "1000"], host_config={"NetworkMode": "none"})
            client.api.start(made["Id"])
            return str(made["Id"])

        begin = time.monotonic()
        made = list(pool.map(run, range(CONTAINERS)))
        took = time.monotonic() - begin
        list(pool.map(lambda each: client.api.remove_container(each, force=True), made))
    return took
