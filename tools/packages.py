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
    "gdb": "gdb",
