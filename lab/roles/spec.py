"""A service as it is wished: one process of one node, with its files rendered and its words settled. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.model.topology import Path

FOLDER = "/run/services"
"""Where a node sees its services: each has a folder of its own there, which is its working directory."""


@dataclass(frozen=True, slots=True)
class Ready:
    """When a service is ready: once all that is said here holds; with nothing said, once it runs."""

    listen: tuple[str, ...] = ()
    """Ports of its node that must be served: `tcp/80`, `udp/53`."""
    file: str | None = None
    """A path, as the node sees it, that must exist; relative to the service's folder."""
    line: str | None = None
    """A regular expression that a line of its output must match."""
    answer: tuple[str, ...] = ()
    """A command that must end with status 0 on the node."""
    counter: str | None = None
    """An SNMP counter of the node, named as nstat(8) does, that must have moved since the service was started."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """`argv[0]` is searched on the PATH of the services; `files` are names in the service's folder and their texts.

    `directories` are absolute paths of which the node has an empty one of its own, owned by `owner` (a user's name) or by
    root. `timeout` is in seconds. `package` is the Debian package that brings the program, where that is known; `calls`
    is that program where `argv` begins with another. `path` is the service's place in the data of the topology file."""

    node: str
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    owner: str | None = None
    ready: Ready = Ready()
    timeout: float = 10.0
    package: str | None = None
    calls: str | None = None
    path: Path = ()

    @property
    def folder(self) -> str:
        """Its folder, as its node sees it."""
        return f"{FOLDER}/{self.name}"

    @property
    def program(self) -> str:
        """What the host must have."""
        return self.calls or self.argv[0]

    def __str__(self) -> str:
        return f"{self.node}:{self.name}"
