"""The role nfsd, with a kernel that has NFS.

Run by `lab --kernel … run tests/guest/nfsd.py`, see tests/e2e/test_scenario_source_vipa.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, Node
from lab.substrate.processes import CommandError

TOPOLOGY = str(Path(__file__).with_name("nfsd.yaml"))
PLACE = "/run/mounted"
ADDRESSES = ("10.0.0.1", "2001:db8::1")


@contextlib.contextmanager
def mounted(client: Node, address: str) -> Iterator[None]:
    source = f"[{address}]:/" if ":" in address else f"{address}:/"
    client.run(["mount", "-i", "-t", "nfs4", "-o", f"sec=sys,vers=4.2,addr={address},X-mount.mkdir", source, PLACE])
    try:
        yield
    finally:
        client.run(["umount", "--force", PLACE])


@pytest.mark.lab(TOPOLOGY)
def test_what_a_client_writes_the_server_has(lab: Lab) -> None:
    """What a client writes the server has, over both families, and after the server was restarted or killed."""
    client, server, service = lab["c"], lab["s"], lab["s"].services["nfsd"]
    for number, address in enumerate(ADDRESSES):
        with mounted(client, address):
            client.run(["mkdir", f"{PLACE}/{number}"])
            client.run(["sh", "-c", f"echo {number} > {PLACE}/{number}/text"])
        assert server.run(["cat", f"/run/some files/{number}/text"]).stdout == f"{number}\n"
        if number == 0:
            service.restart()
    service.kill()
    service.restart()
    with mounted(client, ADDRESSES[0]):
        assert client.run(["ls", PLACE]).stdout.split() == ["0", "1"]


@pytest.mark.lab(TOPOLOGY, write=False)
def test_who_may_only_read_cannot_write(lab: Lab) -> None:
    """A directory that is exported for reading is read, and not written."""
    lab["s"].run(["sh", "-c", "echo told > '/run/some files/text'"])
    with mounted(lab["c"], ADDRESSES[0]):
        assert lab["c"].run(["cat", f"{PLACE}/text"]).stdout == "told\n"
        with pytest.raises(CommandError, match="Read-only file system"):
            lab["c"].run(["touch", f"{PLACE}/other"])
