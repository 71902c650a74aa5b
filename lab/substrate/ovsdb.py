"""The database of an Open vSwitch, by its own protocol: JSON-RPC on a Unix socket (RFC 7047). What its tables and columns mean
stands in ovs-vswitchd.conf.db(5).

ovs-vswitchd reads what it shall do from there, and writes there what came of it: `cur_cfg` of the one row of Open_vSwitch
reaches `next_cfg` once everything is done, and a port that could not be made has an error.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.model.file import PortVlan
from lab.model.topology import SWITCH_BRIDGE, Interface
from lab.steps import AddOvsPort, MakeOvsBridge

SOCKET = "openvswitch/db.sock"
"""Below a node's /run."""
_DATABASE = "Open_vSwitch"
_WITHIN = 10.0  # seconds until ovs-vswitchd has done what was written; it takes milliseconds
_PIECE = 1 << 16
_SHORTLY = 2.0
_ALL: list[object] = []
_IN_USERSPACE, _OF_KERNEL = "netdev", "system"
_DATAPATHS = {_IN_USERSPACE: "userspace", _OF_KERNEL: "kernel"}
Row = dict[str, Any]


class OvsdbError(Exception):
    """The database is not there, refuses a transaction or says nothing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the step number `at` could not be done."""

    at: int
    why: str


@dataclass(frozen=True, slots=True)
class Port:
    """`number` is its OpenFlow port, None while it has none; `kind` as the database has it, empty for a link's end."""

    name: str
    number: int | None
    kind: str
    access: int | None
    trunk: tuple[int, ...]
    mode: str
    error: str

    @property
    def vlans(self) -> str:
        """As the topology's language has them."""
        native = self.access if self.mode.startswith("native") else None
        said = [f"native {native}"] if native else [f"access {self.access}"] if self.access else []
        return ", ".join([*([f"trunk {','.join(map(str, self.trunk))}"] if self.trunk else []), *said])


@dataclass(frozen=True, slots=True)
class Switch:
    """`datapath` is userspace or kernel, or nothing where it has no bridge; ports come by their numbers."""

    datapath: str
    ports: tuple[Port, ...]


class Database:
    """A connection to it, a context manager. Raises OvsdbError where nobody serves it."""

    def __init__(self, path: Path) -> None:
        self._buffer, self._number = "", 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            _connect(self._socket, path)
        except OSError as error:
            self._socket.close()
            raise OvsdbError(f"nobody serves its database: {error.strerror}") from error

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def transact(self, *operations: Row, within: float = _WITHIN) -> list[Row]:
        """What came of each operation; all are done, or none. Raises OvsdbError."""
        self._number += 1
        self._send({"method": "transact", "params": [_DATABASE, *operations], "id": self._number})
        for message in self._messages(time.monotonic() + within):
            if message.get("method") == "echo":
                self._send({"id": message["id"], "result": message["params"], "error": None})
            elif message.get("id") == self._number:
                return _results(message)
        raise OvsdbError("its database ended the connection")

    def _send(self, message: Row) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def _messages(self, deadline: float) -> Iterator[Row]:
        """One after another: nothing stands between them."""
        while True:
            try:
                message, end = json.JSONDecoder().raw_decode(self._buffer)
                self._buffer = self._buffer[end:].lstrip()
                yield message
            except ValueError:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    piece = self._socket.recv(_PIECE)
                except OSError as error:
                    raise OvsdbError(f"its database does not answer: {error.strerror or error}") from error
                if not piece:
                    return
                self._buffer += piece.decode()


def _connect(sock: socket.socket, path: Path) -> None:
    """By its folder's descriptor: a socket's own path has 107 characters at the most (unix(7))."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _results(message: Row) -> list[Row]:
    results: list[Row] = message.get("result") or []
    for each in [message, *results]:
        if isinstance(each, dict) and each.get("error"):
            said = each["error"]
            raise OvsdbError(str(each.get("details") or (said.get("details") if isinstance(said, dict) else said)))
    return results


# -- what a plan wishes


def carry_out(path: Path, steps: Sequence[MakeOvsBridge | AddOvsPort]) -> Refusal | None:
    """Makes a bridge (the first step) with its ports in one transaction, and waits until each has an OpenFlow port. `path` is
    the socket's. Raises OvsdbError."""
    with Database(path) as database:
        *_, counted = database.transact(*operations(steps))
        wanted = counted["rows"][0]["next_cfg"]
        behind = [["cur_cfg", "<", wanted]]
        wait = {"op": "wait", "table": _DATABASE, "where": behind, "columns": ["cur_cfg"], "until": "==", "rows": []}
        database.transact(wait | {"timeout": int(_WITHIN * 1000)}, within=_WITHIN + 1)
        made = {port.name: port for port in _ports(database)}
    for at, step in enumerate(steps):
        port = made.get(step.interface.name)
        if port is None or port.number is None:
            return Refusal(at, (port.error if port else "") or "it has no OpenFlow port")
    return None


def operations(steps: Sequence[MakeOvsBridge | AddOvsPort]) -> Iterator[Row]:
    """The transaction; the last operation tells which `next_cfg` it made."""
    bridge = steps[0]
    if not isinstance(bridge, MakeOvsBridge):
        raise TypeError("a port comes after its bridge")
    for at, step in enumerate(steps):
        yield _insert("Interface", f"interface{at}", _interface(step.interface, at))
        ports = {"name": step.interface.name, "interfaces": _named(f"interface{at}"), **vlan_columns(step.interface.vlan)}
        yield _insert("Port", f"port{at}", ports)
    every = ["set", [_named(f"port{at}") for at in range(len(steps))]]
    kind = _IN_USERSPACE if bridge.userspace else _OF_KERNEL
    row: Row = {"name": bridge.interface.name, "datapath_type": kind, "ports": every}
    if bridge.interface.mac:
        row["other_config"] = ["map", [["hwaddr", bridge.interface.mac]]]
    yield _insert("Bridge", "bridge", row)
    added = [["bridges", "insert", ["set", [_named("bridge")]]], ["next_cfg", "+=", 1]]
    yield {"op": "mutate", "table": _DATABASE, "where": _ALL, "mutations": added}
    yield {"op": "select", "table": _DATABASE, "where": _ALL, "columns": ["next_cfg"]}


def _insert(table: str, name: str, row: Row) -> Row:
    return {"op": "insert", "table": table, "uuid-name": name, "row": row}


def _named(name: str) -> list[str]:
    return ["named-uuid", name]


def _interface(interface: Interface, number: int) -> Row:
    """The ends of links have MTU and MAC address already; number and MAC address of the bridge's own come with the bridge."""
    row: Row = {"name": interface.name}
    if interface.name != SWITCH_BRIDGE:
        row["ofport_request"] = number
    if interface.kind == "internal":
        row["type"] = "internal"
        row |= {"mtu_request": interface.mtu} if interface.mtu else {}
        row |= {"mac": interface.mac} if interface.mac and interface.name != SWITCH_BRIDGE else {}
    return row


def vlan_columns(vlan: PortVlan | None) -> Row:
    """Of a row of Port. A trunk without a list would be one of every VLAN; frames without a tag are in VLAN 0, of which none is
    a member."""
    if vlan is None:
        return {}
    if vlan.access:
        return {"vlan_mode": "access", "tag": vlan.access}
    if vlan.native:
        return {"vlan_mode": "native-untagged", "tag": vlan.native, "trunks": ["set", sorted({*vlan.trunk, vlan.native})]}
    return {"vlan_mode": "trunk", "trunks": ["set", list(vlan.trunk)]}


# -- what there is


def read(path: Path) -> Switch | None:
    """What there is right now; None where nobody serves the database at that socket, or whoever does says nothing."""
    try:
        with Database(path) as database:
            (answer,) = database.transact(_select("Bridge", "datapath_type"), within=_SHORTLY)
            kinds = [_DATAPATHS.get(row["datapath_type"], row["datapath_type"]) for row in answer["rows"]]
            ports = sorted(_ports(database), key=lambda port: (port.number or 0, port.name))
    except OvsdbError:
        return None
    return Switch(", ".join(kinds), tuple(ports))


def _ports(database: Database) -> Iterator[Port]:
    ports, interfaces = database.transact(
        _select("Port", "name", "tag", "trunks", "vlan_mode"), _select("Interface", "name", "type", "ofport", "error")
    )
    vlans = {row["name"]: row for row in ports["rows"]}
    return (port_of(row, vlans.get(row["name"], {})) for row in interfaces["rows"])


def _select(table: str, *columns: str) -> Row:
    return {"op": "select", "table": table, "where": _ALL, "columns": list(columns)}


def port_of(interface: Mapping[str, Any], port: Mapping[str, Any]) -> Port:
    """Of the rows that are called so in the two tables."""
    number = _one(interface["ofport"])
    return Port(
        name=interface["name"],
        number=number if number is not None and number > 0 else None,
        kind=interface["type"],
        access=_one(port.get("tag")),
        trunk=tuple(sorted(_several(port.get("trunks")))),
        mode=_one(port.get("vlan_mode")) or "",
        error=_one(interface["error"]) or "",
    )


def _several(value: Any) -> list[Any]:
    """A set of one is written as that one (RFC 7047, 5.1)."""
    if value is None:
        return []
    return list(value[1]) if isinstance(value, list) and value[:1] == ["set"] else [value]


def _one(value: Any) -> Any:
    return next(iter(_several(value)), None)
