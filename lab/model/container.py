"""What the file says of a container: its image, its command, what it has of the host, and its limits.

What Docker is asked for is made elsewhere; here is what may be asked. No text of it reaches a shell, and names that become
part of a request's path are held to the grammar of image references.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from lab.model.forms import Many, Written, blank
from lab.model.values import Argv, VariableName, Word, wrong

GATE = "/.lab"
"""Where in the container lie the gate and what opens it."""
_BY_NUMBER = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT
    SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"""
CAPABILITIES = tuple(_BY_NUMBER.split())
"""By their numbers (include/uapi/linux/capability.h)."""

# Of distribution/reference: [host[:port]/]path[:tag][@digest]; an image's own id is a path as well.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?\Z")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_LEAST_MEMORY = 6 * 2**20  # less is refused by Docker
_OF_THE_KERNEL = ("/proc", "/sys", "/dev", GATE)


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host in the container. `source` is relative to the topology's folder, or absolute."""

    source: str
    target: str
    writable: bool = False

    def __str__(self) -> str:
        return f"{self.source} at {self.target}{', writable' if self.writable else ''}"


def _image(text: str) -> str:
    if len(text) > 255 or not _IMAGE.match(text):
        raise wrong(f"{text[:60]!r} cannot be the name of an image", "write [REGISTRY/]NAME[:TAG], such as busybox:stable")
    return text


def _user(value: Any) -> str:
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else "-"
    if text and not _USER.match(text):
        raise wrong(f"{str(value)[:60]!r} is no user", "write a name or a number, or USER:GROUP")
    return text


def _capability(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name not in (*CAPABILITIES, "ALL"):
        raise wrong(f"there is no capability {text[:60]!r}", "write it as capabilities(7) does, such as NET_ADMIN")
    return name


def _memory(value: Any) -> int:
    found = _AMOUNT.match(value) if isinstance(value, str) and len(value) < 30 else None
    if not found:
        raise wrong(f"{str(value)[:60]!r} is no amount of memory", "write a number and a unit, such as 64MB")
    amount = round(float(found[1]) * _UNITS[(found[2] or "").lower()])
    if not _LEAST_MEMORY <= amount < 2**63:
        raise wrong(f"{value!r} is no amount of memory that a container can have", "write 7MB or more")
    return amount


def _bind(value: Any) -> Bind:
    if isinstance(value, Bind):
        return value
    parts = value.split(":") if isinstance(value, str) else []
    if len(parts) not in (2, 3) or not all(parts) or "\0" in value:
        raise wrong(f"{str(value)[:60]!r} is no bind", "write SOURCE:TARGET, or SOURCE:TARGET:rw where it may be written")
    if parts[2:] not in ([], ["ro"], ["rw"]):
        raise wrong(f"{parts[2][:60]!r} is neither ro nor rw", "binds are read-only by default; write rw to allow writing")
    return Bind(_source(parts[0]), _target(parts[1]), parts[2:] == ["rw"])


def _source(text: str) -> str:
    path = posixpath.normpath(text)
    if path == ".." or path.startswith("../"):
        raise wrong(f"{text[:200]!r} lies outside the topology's folder", "a container sees only files below that folder")
    return path


def _target(text: str) -> str:
    path = posixpath.normpath(text)
    if not text.startswith("/") or ".." in text.split("/") or text.startswith("//"):
        raise wrong(f"{text[:200]!r} is no absolute path", "write where the container sees it, such as /etc/app")
    if path == "/" or any(path == held or path.startswith(f"{held}/") for held in _OF_THE_KERNEL):
        raise wrong(f"{path} of a container cannot be replaced", "choose a place below another folder")
    return path


ImageName = Annotated[str, AfterValidator(_image)]
UserName = Annotated[
    str, BeforeValidator(_user), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]})
]
Capability = Annotated[str, AfterValidator(_capability), WithJsonSchema({"type": "string", "examples": ["NET_ADMIN"]})]
Memory = Annotated[int, BeforeValidator(_memory), WithJsonSchema({"type": "string", "examples": ["64MB"]})]
BindText = Annotated[Bind, PlainValidator(_bind), WithJsonSchema({"type": "string", "examples": ["./www:/www"]})]


class Resources(Written):
    """What a container may use at the most."""

    memory: Memory | None = None
    """Such as 64MB or 64MiB."""
    cpus: Annotated[float, Field(ge=0.01, le=4096)] | None = None
    """Processors, in parts: 0.5 is half of one."""
    pids: Annotated[int, Field(ge=1, le=2**22)] | None = None
    """Processes and threads."""


class ContainerBody(Written):
    """What a node of kind container has beside what every node has."""

    image: ImageName | None = None
    """The image of a container; never pulled, unless `pull` says so."""
    command: Argv | None = None
    """What the container runs once its links are up, instead of the image's own command."""
    entrypoint: Argv | None = None
    """What stands before the command, instead of the image's own."""
    environment: dict[VariableName, Word] = Field(default_factory=dict)
    """Environment variables of the container, beside those of the image."""
    binds: Annotated[tuple[BindText, ...], Many] = ()
    """SOURCE:TARGET, files and folders below the topology's folder that the container sees; SOURCE:TARGET:rw lets it write."""
    capabilities: Annotated[tuple[Capability, ...], Many] = ()
    """Beside those that Docker gives to every container: NET_ADMIN."""
    privileged: bool = False
    """Every capability that the host itself has, and nothing of /proc and /sys hidden."""
    user: UserName | None = None
    """Who runs the command, as the image knows him: NAME or NUMBER, with :GROUP."""
    resources: Annotated[Resources, blank] = Resources()
    exec: Annotated[tuple[Argv, ...], Many] = ()
    """Commands that run in the container one after another, once its own has been started; each must end with status 0."""
    pull: bool = False
    """Whether an image that is not there is fetched from its registry."""


KEYS = tuple(ContainerBody.model_fields)

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is wished. `said` is where each key stands, at the node or with the defaults."""

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    capabilities: tuple[str, ...] = ()
    privileged: bool = False
    user: str | None = None
    resources: Resources = field(default_factory=Resources)
    exec: tuple[tuple[str, ...], ...] = ()
    pull: bool = False
    said: Mapping[str, _Path] = field(default_factory=dict)

    def where(self, key: str) -> _Path:
        return self.said.get(key, ())
