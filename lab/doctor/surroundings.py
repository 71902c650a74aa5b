"""Where this system runs: WSL, a container, a kernel that is locked down; told from files that each of these leaves."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUPS = {"docker": "docker", "libpod": "podman", "kubepods": "kubernetes", "lxc": "lxc", "containerd": "containerd"}
_OF_WSL = re.compile(r"microsoft", re.IGNORECASE)


def wsl(version: str) -> int:
    """0, 1 or 2, from /proc/version: WSL 1 calls itself 4.4.0-…-Microsoft, WSL 2 …-microsoft-standard-WSL2."""
    if not _OF_WSL.search(version):
        return 0
    return 2 if "WSL2" in version or "microsoft-standard" in version else 1


def container(root: Path) -> str:
    """The kind of container whose root folder this is, or nothing: by the runtime's file, systemd's, the environment of the
    first process, and cgroups, in this order."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    if named := _text(root / "run/systemd/container").strip():
        return named
    environment = _text(root / "proc/1/environ").split("\0")
    if named := next((each.removeprefix("container=") for each in environment if each.startswith("container=")), ""):
        return named
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    cgroups = _text(root / "proc/1/cgroup")
    return next((kind for word, kind in _CGROUPS.items() if re.search(rf"/{word}\b", cgroups)), "")


def lockdown(text: str) -> str:
    """The mode in brackets of /sys/kernel/security/lockdown: none, integrity or confidentiality."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else "none"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
