"""What apt-get wrote when it failed -> what is wrong and what to do; pure."""

from __future__ import annotations

import re

from lab.errors import HostError
from lab.kernels.cache import ROOM

_TAIL = 6  # lines

# In this order: a full disk also breaks signatures, and a broken network also leaves files out.
_KNOWN = (
    (
        r"No space left on device|Disk quota exceeded|don't have enough free space",
        "there is no room left for what apt fetches",
        ROOM,
    ),
    (
        r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|Clearsigned file isn't valid|GPG error|Hash Sum mismatch"
        r"|signatures? (?:couldn't be verified|were invalid)|no longer signed",
        "what the mirror gave is not signed by Debian, so nothing of it was used",
        "a proxy or a mirror changed it, or the keyring is old: apt-get install debian-archive-keyring",
    ),
    (
        r"is expired|not valid yet",
        "the mirror's index is older than it says that it may be, or this host's clock is wrong",
        "look at `date`, or name another mirror in the host's apt sources",
    ),
    (
        r"Could not resolve|Temporary failure resolving|Could not connect|Cannot initiate the connection|Connection failed"
        r"|Connection refused|Connection timed out|Network is unreachable|Unable to connect|Could not wait for server",
        "the mirror cannot be reached",
        "is there a network, or a proxy for apt (Acquire::http::Proxy)? What was fetched before can be used without",
    ),
    (
        r"404\s+Not Found|does not have a Release file|Unable to fetch some archives|Version .* was not found"
        r"|Unable to locate package",
        "the mirror does not have it (any more)",
        "look again at what there is: lab kernels --update",
    ),
)


def refusal(what: str, said: str) -> HostError:
    """The error for `what` failed, in words, from all that apt-get wrote in English."""
    lines = [line for line in said.splitlines() if line.startswith(("E:", "W:", "Err:"))] or said.splitlines()
    told = "".join(f"\n    apt: {line}" for line in lines[-_TAIL:])
    for pattern, why, hint in _KNOWN:
        if re.search(pattern, said):
            return HostError(f"{what}: {why}{told}", hint)
    return HostError(f"{what}: apt-get failed{told}", "try again with a fresh state: lab kernels --update")
