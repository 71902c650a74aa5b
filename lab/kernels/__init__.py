"""Kernels for guests: which there are, how one is fetched, and what boots it. The seam for who boots them.

    name ── names ──> Wish ── store ──> Kernel ── boot ──> Bootable
                       │                  ^
                       └─ packages of the suites (apt, sources) ── fetch ──┘

`names`, `versions`, `packages`, `sources`, `refusals`, `image`, `cpio` and `moduledeps` are pure; `cache`, `aptstate`, `store`,
`fetch` and `boot` touch the disk and apt. What is made is below the user's cache: $LAB_CACHE/kernels, or
$XDG_CACHE_HOME/lab/kernels, and nothing is installed on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Flavour = Literal["amd64", "cloud", "uml", "file"]
DEFAULT = "6.1"
"""What is used where nobody names a kernel: Debian 12's, which has 9p and every feature that the shipped labs ask for."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that a guest can boot.

    `name` is what the user said ("6.12", "uml", a path), `release` what `uname -r` says in it, `image` a vmlinuz or the
    executable of User-mode Linux, `modules` a folder with what /lib/modules/RELEASE has (None where it has no modules), and
    `cache` the folder for files derived from this kernel, which need not be there yet."""

    name: str
    release: str
    flavour: Flavour
    image: Path
    modules: Path | None
    cache: Path


@dataclass(frozen=True, slots=True)
class Bootable:
    """What a machine is started with: `elf` is the kernel as an ELF executable, `initrd` an uncompressed cpio archive."""

    elf: Path
    initrd: Path


def find(name: str) -> Kernel:
    """The kernel of that name among those fetched (of a series the newest), installed, or lying at that path; asks no network.

    Raises HostError, with the command that fetches it, where it is not there, and TopologyError where no kernel can be
    called so."""
    from lab.kernels import store

    return store.find(name)


def bootable(kernel: Kernel, modules: Sequence[str] = (), init: Mapping[str, bytes] | None = None) -> Bootable:
    """The kernel's ELF and an initial file system; both are made once and kept in the kernel's cache.

    In the file system are
      /bin/busybox        Debian's static busybox, executable; /bin/sh is a link to it
      /modules/NAME.ko    `modules` and all that they depend on, uncompressed, without what is built in
      /modules/order      their paths, one a line, each behind those it needs: `while read m; do insmod $m; done`
      /dev /proc /sys …   empty folders, and /dev/console and /dev/null
      the files of `init`, path -> content, all of them executable; the kernel starts /init

    Raises HostError where the kernel has no such module, or its image cannot be read."""
    from lab.kernels import boot

    return boot.bootable(kernel, modules, init or {})
