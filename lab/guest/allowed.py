"""What a stranger's work may see of this host: lists of what is allowed, never of what is not. Pure.

Of /etc it is what programs need to start and to know names and numbers, and what every installation of the system has alike; no
file in which somebody could have written a secret. Of the environment it is how output looks.
"""

from __future__ import annotations

from collections.abc import Mapping

ETC = (
    "alternatives",
    "bindresvport.blacklist",
    "debian_version",
    "ethertypes",
    "gai.conf",
    "group",
    "host.conf",
    "inputrc",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "login.defs",
    "lsb-release",
    "mime.types",
    "netconfig",
    "networks",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "rpc",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
"""Below /etc."""

TEXTS = {
    "/etc/hostname": "guest\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 guest\n",
}
"""Files that are made in place of the host's own."""

FOLDERS = {
    **dict.fromkeys(("/dev", "/etc", "/home", "/mnt", "/opt", "/proc", "/run", "/srv", "/sys", "/usr", "/var"), 0o755),
    **dict.fromkeys(("/root", "/var/cache", "/var/lib", "/var/log", "/var/spool"), 0o755),
    "/tmp": 0o1777,
    "/var/tmp": 0o1777,
}
"""Empty ones, where the host has its own, and their modes."""

LINKS = {"/etc/mtab": "/proc/mounts", "/var/run": "/run", "/var/lock": "/run/lock"}

_SHOWN = frozenset({"TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TZ", "LANG", "LANGUAGE"})
_LOCALE = frozenset(f"LC_{name}" for name in ("ALL", "COLLATE", "CTYPE", "MESSAGES", "MONETARY", "NUMERIC", "TIME"))
_OURS = frozenset({"LAB_FORMAT", "LAB_VERBOSE", "LAB_QUIET"})
ENVIRONMENT = _SHOWN | _LOCALE | _OURS
"""Variables that a guest is told."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ITS_OWN = {"PATH": _PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh"}

REPORT = frozenset({"index.html", "run.json", "junit.xml"})
"""What is taken out of a guest for a folder that is to be written; a file that is named itself may hold anything."""
LARGEST = 256 << 20
"""Bytes of all of that together."""


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a guest is told of this environment, and what it has in place of the rest."""
    return {**_ITS_OWN, **{name: value for name, value in own.items() if name in ENVIRONMENT}}
