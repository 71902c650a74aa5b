"""What a node has now, as far as it is a reason's setting: `reasons.Present` of a living namespace, each read once."""

from __future__ import annotations

import contextlib
import subprocess
from functools import cache
from pathlib import Path
from typing import TypeVar

from lab.observe.explain import ruleset
from lab.substrate import baseline, namespaces
from lab.substrate.netlink import sockets
from lab.sysctls import sysctl_parts

T = TypeVar("T")
_SECONDS, _CONF = 5.0, "net/ipv4/conf"
_NFT = ("nft", "-a", "list", "ruleset")


class Settings:
    """Of the namespace at `ns`. What cannot be read is as good as absent: it must not hide the drop that it is asked for."""

    def __init__(self, ns: Path) -> None:
        self._ns = ns
        self.sysctl, self.way, self.mac = cache(self._sysctl), cache(self._way), cache(self._mac)
        self.rules, self.keys, self.listening = cache(self._rules), cache(self._keys), cache(self._listening)

    def _sysctl(self, name: str) -> str | None:
        path = baseline.SYSCTL.joinpath(*sysctl_parts(name))
        with contextlib.suppress(OSError):
            return namespaces.inside(self._ns, path.read_text).strip()
        return None

    def filters(self) -> list[str]:
        """Reverse path filters that are not off, one for each device, and one of all: `net.ipv4.conf.eth0.rp_filter: 1`."""
        with contextlib.suppress(OSError):
            return namespaces.inside(self._ns, _filters)
        return []

    def _way(self, address: str) -> str | None:
        from lab.substrate.netlink.way import way

        with contextlib.suppress(OSError):
            return way(self._ns, address)
        return None

    def _mac(self, device: str) -> str:
        from lab.substrate.netlink import dump

        with contextlib.suppress(OSError):
            return next((link.mac for link in dump.read(self._ns).links if link.name == device), "")
        return ""

    def _rules(self) -> list[str]:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return ruleset.dropping(namespaces.inside(self._ns, _listed))
        return []

    def _keys(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [str(key) for key in namespaces.inside(self._ns, sockets.keys)]
        return []

    def _listening(self, protocol: str) -> list[str]:
        with contextlib.suppress(OSError, KeyError):
            return namespaces.inside(self._ns, sockets.listening, protocol)
        return []


def _filters() -> list[str]:
    found = {path.parent.name: path.read_text().strip() for path in sorted((baseline.SYSCTL / _CONF).glob("*/rp_filter"))}
    found.pop("default", None)  # of devices that come later
    return [f"net.ipv4.conf.{device}.rp_filter: {value}" for device, value in found.items() if value != "0"]


def _listed() -> str:
    """A child of the helper thread is in the thread's namespace."""
    return subprocess.run(_NFT, capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL).stdout
