"""Brings the Debian packages that a purpose needs and this machine lacks: tools/packages.py [test] [bench]

Without root, or without apt, it says what is missing and goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from lab.doctor import apt, programs
from lab.errors import HostError

TEST = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "tc": "iproute2",
    "cc": "gcc",
    "ethtool": "ethtool",
    "ping": "iputils-ping",
    "fish": "fish",
    "zsh": "zsh",
    "newuidmap": "uidmap",
    "sudo": "sudo",
    "dhclient": "isc-dhcp-client",
    "tcpdump": "tcpdump",
    "qemu-system-x86_64": "qemu-system-x86",
    "dot": "graphviz",
    "chromium": "chromium",
    "depmod": "kmod",
    "libpcap": "libpcap0.8",
    "mmdebstrap": "mmdebstrap",
    "vagrant": "vagrant-libvirt",
    "dockerd": "docker.io",
    "busybox": "busybox-static",
    "qemu-aarch64": "qemu-user",
    "gdb": "gdb",
}
BENCH = {"cc": "gcc", "mn": "mininet", "brctl": "bridge-utils", "ifconfig": "net-tools"}


def needed(purpose: str) -> Iterator[tuple[str, str]]:
    """(program, package) of everything a purpose calls."""
    yield from {"test": TEST, "bench": BENCH}[purpose].items()
    if purpose == "test":
        yield from ((role.program, role.package) for role in programs.shipped_roles().values() if role.program and role.package)


def lacking(purposes: Iterable[str]) -> list[str]:
    pairs = (pair for purpose in purposes for pair in needed(purpose))
    return sorted({package for program, package in pairs if not programs.where(program)})


def main() -> None:
    try:
        done = apt.install(lacking(sys.argv[1:]))
    except HostError as error:
        print(error, file=sys.stderr)
        return
    if done.asked:
        print("\n".join(apt.in_words(done)), file=sys.stderr)


if __name__ == "__main__":
    main()
