"""Containers through Docker's SDK for Python: found, started behind a gate, let go, asked how they ended, removed.

The only module that knows the SDK, and it is loaded for labs with containers alone. What Docker's daemon is asked for is one
POST to create and one to start; no network of its own, no restart, the log as it keeps it by itself. Which daemon: what
DOCKER_HOST says, as recorded when the lab was made.

    Docker         a connection: images, start, how it ended, log, remove

A container belongs to a lab by its name, lab-<uuid>-<node>, and by its labels, both: what has only one of them is a stranger's.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lab.errors import HostError, StepError
from lab.model.container import GATE, Container
from lab.substrate import gate, signals
from lab.substrate.contained import (
    Contained,
    ContainerError,
    Wish,
    address,
    build_gate,
    executes,
    pairs,
    read_of,
    which,
)

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.errors import APIError

NAME, UUID, NODE, ROOT = "lab.name", "lab.uuid", "lab.node", "lab.root"
"""The labels of a container of ours; ROOT is the directory that holds its lab."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What Docker gives to who says nothing of it (moby, oci/defaults)."""
_AT_ONCE = 16
_ANSWERS_WITHIN = 120  # seconds, of the daemon; a disk may be busy
_GATED_WITHIN = 30.0
_ENDED_WITHIN = 60.0
_LOOK_AGAIN = 0.005
_LAST_LINES = 20
_START_IT = "start it (systemctl start docker), name another by DOCKER_HOST, or install it: apt-get install docker.io"


@dataclass(frozen=True, slots=True)
class End:
    """How a container is. `pid` is that of a running one, 0 otherwise; `status` is that of the command, or 128 and a
    signal's number."""

    pid: int
    status: int
    out_of_memory: bool = False


class Docker:
    """A connection to a daemon; a context manager. Threads may share it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Raises HostError where there is no daemon, or not for us."""
        self.which = which(environment)
        _knock(address(self.which))
        import docker
        from docker.errors import DockerException

        self._images: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        try:
            self._client: DockerClient = docker.from_env(
                environment=self.which, timeout=_ANSWERS_WITHIN, max_pool_size=_AT_ONCE
            )
        except DockerException as error:
            raise _unreachable(error, address(self.which)) from error
        self._api = self._client.api

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        """A daemon that ends, or says nothing more, in the middle of the block: HostError."""
        from requests.exceptions import RequestException

        self._client.close()
        if isinstance(error, RequestException):
            raise HostError(f"Docker at {address(self.which)} does not answer any more: {error}", _START_IT) from error

    def version(self) -> str:
        return str(self._api.version()["Version"])

    # Images.

    def image(self, name: str) -> dict[str, Any] | None:
        """What Docker knows of an image; None where it has none of that name."""
        from docker.errors import ImageNotFound

        with self._lock:
            if name not in self._images:
                try:
                    self._images[name] = self._api.inspect_image(name)  # type: ignore[no-untyped-call] # in its stubs
                except ImageNotFound:
                    return None
            return self._images[name]

    def pull(self, name: str) -> None:
        """Raises HostError."""
        from docker.errors import APIError

        tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
        try:
            self._client.images.pull(tagged)
        except APIError as error:
            hint = f"try it by hand: docker pull {name}"
            raise HostError(f"Docker could not pull the image {name}: {_said(error)}", hint) from error

    # Starting.

    def start_all(
        self, wishes: Sequence[Wish], told: Callable[[Wish], object], made: Callable[[Wish], object]
    ) -> dict[str, Contained]:
        """Starts them side by side, each behind its gate. `told` hears of each before it is begun, in this thread and in order;
        `made` once it is there, in another. Raises what the first that fails raised, once none is being made any more."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(_AT_ONCE, "container")
        try:
            futures = []
            for wish in wishes:
                told(wish)
                futures.append(pool.submit(self._start, wish, made, stop))
            return {wish.node: future.result() for wish, future in zip(wishes, futures, strict=True)}
        finally:
            stop.set()
            with signals.held_back():
                pool.shutdown(cancel_futures=True)

    def _start(self, wish: Wish, made: Callable[[Wish], object], stop: threading.Event) -> Contained:
        try:
            return self._started(wish, made, stop)
        except ContainerError as error:
            raise StepError(wish.words, wish.node, why=str(error)) from error

    def _started(self, wish: Wish, made: Callable[[Wish], object], stop: threading.Event) -> Contained:
        from docker.errors import APIError

        build_gate(wish.folder)
        image = self.image(wish.container.image)
        if image is None or stop.is_set():
            raise ContainerError(f"there is no image {wish.container.image} any more" if image is None else "stopped")
        try:
            number = self._create(wish, image["Config"] or {})
            made(wish)
            if stop.is_set():
                raise ContainerError("stopped")
            self._api.start(number)
        except APIError as error:
            raise ContainerError(f"Docker says: {_said(error)}") from error
        return self._gated(wish, number)

    def _create(self, wish: Wish, image: Mapping[str, Any]) -> str:
        argv = _argv(wish.container, image)
        environment = {**pairs(image.get("Env") or ()), **wish.container.environment}
        made = self._api.create_container(
            wish.container.image,
            name=wish.name,
            hostname=wish.node,
            entrypoint=[f"{GATE}/gate"],
            command=gate.words(f"{GATE}/fifo", argv, environment, PATH),
            environment=dict(wish.container.environment),
            user=wish.container.user,
            labels=dict(wish.labels),
            stdin_open=True,  # or a shell, which many images have for a command, would end at once
            host_config=self._host_config(wish),
        )
        return str(made["Id"])

    def _host_config(self, wish: Wish) -> dict[str, Any]:
        from docker.types import LogConfig, Mount

        container, limits = wish.container, wish.container.resources
        ours = Mount(GATE, str(wish.folder / "gate"), "bind", read_only=True)
        binds = [
            Mount(bind.target, str(source), "bind", read_only=not bind.writable)
            for bind, source in zip(container.binds, wish.sources, strict=True)
        ]
        config = self._api.create_host_config(
            network_mode="none",
            restart_policy={"Name": "no"},
            mounts=[ours, *binds],
            log_config=LogConfig(type="json-file"),
            cap_add=list(container.capabilities) or None,
            privileged=container.privileged and not wish.lacking,
            mem_limit=limits.memory,
            nano_cpus=None if limits.cpus is None else round(limits.cpus * 1e9),
            pids_limit=limits.pids,
        )
        if container.privileged and wish.lacking:
            config |= _nearly_privileged(wish.lacking)
        return dict(config)

    def _gated(self, wish: Wish, number: str) -> Contained:
        """Waits until the gate runs: that its executable is the very file in the lab's tree proves that the process is of this
        host, and the container's."""
        ours, deadline = (wish.folder / "gate" / "gate").stat(), time.monotonic() + _GATED_WITHIN
        end = self.end(number)
        while end is not None and end.pid:
            if executes(end.pid, ours):
                return read_of(wish, number, end.pid, self.which)
            if time.monotonic() >= deadline:
                raise ContainerError(f"Docker's containers are no processes of this host: is {address(self.which)} another's?")
            time.sleep(_LOOK_AGAIN)
            if not Path(f"/proc/{end.pid}").exists():
                end = self.end(number)
        raise ContainerError(f"it ended before its gate was there\n{_indented(self.log(number, _LAST_LINES))}")

    # Afterwards.

    def end(self, name: str) -> End | None:
        """None where it is not there any more."""
        from docker.errors import NotFound

        try:
            state = self._api.inspect_container(name)["State"]
        except NotFound:
            return None
        return End(int(state["Pid"]) if state["Running"] else 0, int(state["ExitCode"]), bool(state["OOMKilled"]))

    def ended(self, name: str, before: int) -> End | None:
        """How it is once its process `before` is known to be gone, which Docker learns a moment later."""
        deadline = time.monotonic() + _ENDED_WITHIN
        while (end := self.end(name)) and end.pid == before and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
        return end

    def log(self, name: str, lines: int | None = None) -> str:
        """What it has written, or its last lines; nothing where it is not there any more."""
        from docker.errors import APIError

        try:
            said: bytes = self._api.logs(name, stdout=True, stderr=True, tail="all" if lines is None else lines)
        except APIError:
            return ""
        return said.decode(errors="replace")

    def follow(self, name: str) -> Iterator[bytes]:
        """What it has written and goes on to write, until it ends."""
        yield from self._api.logs(name, stdout=True, stderr=True, stream=True, follow=True)

    def remove_all(self, uuid: str, images: Mapping[str, str], made: Sequence[str]) -> None:
        """Ends and removes the containers of a lab, side by side; already gone is success. `images` has the image of every name
        that was ever asked for, `made` the names that are known to have come. Raises ContainerError with all that failed."""
        with ThreadPoolExecutor(_AT_ONCE, "container") as pool:
            futures = [pool.submit(self._remove, uuid, name, images[name], name in made) for name in images]
        failed = [str(error) for future in futures if (error := future.exception())]
        if failed:
            raise ContainerError("; ".join(failed))

    def _remove(self, uuid: str, name: str, image: str, made: bool) -> None:
        """Of one that may just be coming, since its maker was killed, the name is taken: it either is there then, or cannot
        come any more."""
        from docker.errors import APIError

        deadline = time.monotonic() + _ENDED_WITHIN
        while time.monotonic() < deadline:
            try:
                if self._gone(name, uuid) and (made or self._never_comes(name, uuid, image)):
                    return
            except APIError as error:
                if error.status_code != 409:  # somebody else makes or removes it just now
                    raise ContainerError(f"{name}: {_said(error)}") from error
            time.sleep(_LOOK_AGAIN)
        raise ContainerError(f"{name} is still there after {_ENDED_WITHIN:g} s")

    def _gone(self, name: str, uuid: str) -> bool:
        """Removes it where it is ours; true where it is not there."""
        from docker.errors import NotFound

        try:
            found = self._api.inspect_container(name)
            if (found["Config"]["Labels"] or {}).get(UUID) != uuid:
                return True  # a stranger's
            self._api.remove_container(found["Id"], force=True, v=True)
        except NotFound:
            pass
        else:
            return self.end(name) is None
        return True

    def _never_comes(self, name: str, uuid: str, image: str) -> bool:
        from docker.errors import NotFound

        try:
            made = self._api.create_container(image, name=name, command=["none"], labels={UUID: uuid}, network_disabled=True)
        except NotFound:  # the image is gone: nothing can be made from it
            return True
        self._api.remove_container(made["Id"], force=True, v=True)
        return True

    def of_root(self, root: Path) -> dict[str, str]:
        """Name -> uuid of every container of labs below a directory."""
        found = self._api.containers(all=True, filters={"label": f"{ROOT}={root}"})
        return {each["Names"][0].lstrip("/"): each["Labels"].get(UUID, "") for each in found if each["Names"]}


def _argv(container: Container, image: Mapping[str, Any]) -> list[str]:
    """As `docker run`: an entrypoint of one's own takes the image's command away. Raises ContainerError where none is left."""
    entrypoint, command = container.entrypoint, container.command
    if entrypoint is None:
        entrypoint = image.get("Entrypoint") or ()
        command = (image.get("Cmd") or ()) if command is None else command
    argv = [*entrypoint, *(command or ())]
    if not argv:
        raise ContainerError(f"the image {container.image} has no command: give the node one, such as [sleep, infinity]")
    return argv


def _nearly_privileged(lacking: Sequence[str]) -> dict[str, Any]:
    """As much of --privileged as this host can give: devices of the host excepted."""
    return {
        "CapAdd": ["ALL"],
        "CapDrop": list(lacking),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    }


def _indented(text: str) -> str:
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    return f"    its last lines:\n{lines or '    (it wrote nothing)'}"


def last_lines(docker: Docker, name: str) -> str:
    """The end of what a container said, indented below a title."""
    return _indented(docker.log(name, _LAST_LINES))


def _knock(address: str) -> None:
    """Whether somebody listens at a local address: found before the SDK is loaded, which does not close what it cannot connect.
    Raises HostError."""
    if not address.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(_ANSWERS_WITHIN)
        try:
            asked.connect(address.removeprefix("unix://"))
        except OSError as error:
            raise _unreachable(error, address) from error


def _said(error: APIError) -> str:
    return str(error.explanation or error).strip()


def _unreachable(error: Exception, address: str) -> HostError:
    if isinstance(error, PermissionError):
        return HostError(f"no permission to talk to Docker at {address}", "run it as root, or as a user of the group docker")
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return HostError(f"no Docker daemon answers at {address}: {error.strerror}", _START_IT)
    return HostError(f"Docker cannot be reached at {address}: {error}", _START_IT)
