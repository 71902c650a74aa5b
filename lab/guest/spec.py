"""What a guest is made of, frozen, before anything runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

MEMORY = 1024  # MiB
LEAST_MEMORY = 128  # MiB; a stock kernel needs most of it for itself


class Substrate(StrEnum):
    """What carries out the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"
    """QEMU in software."""
    UML = "uml"
    """User-mode Linux: a kernel that is a process."""

    @property
    def words(self) -> str:
        return {"kvm": "QEMU with KVM", "tcg": "QEMU without KVM", "uml": "User-mode Linux"}[self.value]


@dataclass(frozen=True, slots=True)
class Tree:
    """The root of a machine that is sealed, of nothing but what stands here; paths are absolute in it.

    `binds` are what comes from the host, source and place, and `devices` such of /dev; `links` and `texts` are made, path and
    what is in it, and `folders` with their modes. `user` is the uid and gid that the machine runs as; None for the caller's."""

    binds: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, int], ...] = ()
    devices: tuple[str, ...] = ()
    user: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest. `image` is an ELF that is booted (QEMU), or the kernel's own executable (UML, which has no `initrd`).

    `root` is the folder of the host that is shared, read-only; `environment` what the agent must know, by variables; `agent`
    the interpreter and the script that become its first process, as paths below `root`. `debugger` is the path of a Unix socket
    where gdb may attach before the first instruction; None without. With a `tree` all paths are such of that: the machine is
    sealed in it."""

    release: str
    substrate: Substrate
    image: Path
    initrd: Path | None
    agent: tuple[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    memory: int = MEMORY
    cpus: int = 1
    warp: bool = False
    debugger: Path | None = None
    extra: tuple[str, ...] = ()
    """More words for QEMU's command line."""
    tree: Tree | None = None

    @property
    def words(self) -> str:
        """As the user is told."""
        more = (
            (f", {self.cpus} processors" if self.cpus > 1 else "")
            + (", virtual time" if self.warp else "")
            + (", untrusted" if self.tree else "")
        )
        return f"{self.release} in {self.substrate.words}, {self.memory} MiB{more}"


def quoted(parameter: str) -> str:
    """As one word of a kernel's command line, which knows double quotes and no way to write one (lib/cmdline.c, next_arg).

    Raises ValueError where the parameter has one, or a line break."""
    if '"' in parameter or "\n" in parameter:
        raise ValueError(f"a kernel's command line cannot hold {parameter!r}")
    return f'"{parameter}"' if any(each.isspace() for each in parameter) else parameter
