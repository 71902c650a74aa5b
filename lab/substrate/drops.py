"""Packets that the kernel drops in some network namespaces, each with its reason, device and first bytes, as it happens.

A BPF program at the tracepoint skb:kfree_skb looks whose namespace the packet's device is of, or else its socket, and keeps
what is asked for. Where these lie in the running kernel's structures, and what its reasons are called, says its BTF. An event
of tracefs would not do: it has the packet's address alone, neither namespace nor device, and its instance outlives a process
that is killed.

What the kernel frees otherwise is no drop for it: an ARP request that it refuses, a packet that nobody on a bridge wants.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from lab.errors import HostError
from lab.substrate import bpf
from lab.substrate.bpf import R0, R1, R2, R3, R6, R7, R8, R9, R10
from lab.substrate.btf import Types

BTF = Path("/sys/kernel/btf/vmlinux")
TRACEPOINT = "kfree_skb"
_NAMESPACES, _ROOM = 16_384, 1 << 20
_REASONS, _PREFIX, _ARGUMENTS = "skb_drop_reason", "SKB_DROP_REASON_", 4
_BYTES = 176
"""Of each packet that are kept: headers, with options and a question of DNS."""
_NO_HEADER = 0xFFFF
# what the program writes: time, location, reason, namespace, device index, length, offsets of three headers, protocol, device
# that it came in by, offset of what is kept, device name, head, data, what is kept
_RECORD = struct.Struct(f"=QQIIII3HHii16sQQ{_BYTES}s")
_TIME, _LOCATION, _REASON, _NAMESPACE, _INDEX, _LENGTH, _MAC, _NETWORK, _TRANSPORT, _PROTOCOL = (
    0,
    8,
    16,
    20,
    24,
    28,
    32,
    34,
    36,
    38,
)
_CAME_IN, _START, _DEVICE, _HEAD, _DATA, _KEPT = 40, 44, 48, 64, 72, 80
_BUSY, _DISCARDED, _LENGTH_MASK = 1 << 31, 1 << 30, (1 << 30) - 1


@dataclass(frozen=True, slots=True)
class Dropped:
    """`time` in seconds of time.monotonic(); `namespace` the inode; `device` empty where the packet had none any more; `reason`
    as the kernel names it; `protocol` the EtherType. `mac` has the Ethernet header, or nothing; `packet` what follows it, as
    much as was kept; `transport` is where the header above IP begins in that, negative where it is not known."""

    time: float
    namespace: int
    device: str
    reason: str
    protocol: int
    mac: bytes
    packet: bytes
    transport: int
    location: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes, and the names of reasons."""

    offsets: Mapping[str, int]
    reasons: Mapping[int, str]


@cache
def layout(path: Path = BTF) -> Layout:
    """Of the running kernel. Raises HostError where it does not say, or has no reasons yet (before Linux 5.17)."""
    try:
        types = Types(path.read_bytes())
        if types.parameters(f"btf_trace_{TRACEPOINT}") < _ARGUMENTS:
            raise HostError("this kernel gives no reasons for drops", "Linux 5.17 and later do")
        wanted = ("dev", "sk", "head", "data", "len", "protocol", "skb_iif")
        offsets = {name: types.offset("sk_buff", name) for name in (*wanted, *(f"{each}_header" for each in _HEADERS))}
        offsets |= {name: types.offset("net_device", name) for name in ("name", "ifindex")}
        offsets["net of device"] = types.offset("net_device", "nd_net", "net")
        offsets["net of socket"] = types.offset("sock", "__sk_common", "skc_net", "net")
        offsets["inode"] = types.offset("net", "ns", "inum")
        reasons = {value: name.removeprefix(_PREFIX) for value, name in types.enum(_REASONS).items()}
    except (OSError, ValueError, KeyError) as error:
        hint = "a kernel with CONFIG_DEBUG_INFO_BTF tells where things lie"
        raise HostError(f"drops cannot be traced: {error}", hint) from error
    return Layout(offsets, reasons)


_HEADERS = ("mac", "network", "transport")


class Drops:
    """A context manager; watches no namespace before it is told which. Raises HostError where the kernel or the caller's
    privileges do not allow it, with the reason."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._layout = layout()
        try:
            self._open()
        except OSError as error:
            self.close()
            hint = "root of the first user namespace may (CAP_BPF, CAP_PERFMON)"
            raise HostError(f"drops cannot be traced: {error.strerror}", hint) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._namespaces = self._kept(bpf.new_map(bpf.MAP_HASH, 4, 1, _NAMESPACES))
        self._lost = self._kept(bpf.new_map(bpf.MAP_ARRAY, 4, 8, 1))
        ring = self._kept(bpf.new_map(bpf.MAP_RINGBUF, 0, 0, _ROOM))
        self._consumer = self._undo.enter_context(mmap.mmap(ring, mmap.PAGESIZE, mmap.MAP_SHARED))
        size = mmap.PAGESIZE + 2 * _ROOM  # the buffer is mapped twice, so that no record is torn
        self._producer = self._undo.enter_context(mmap.mmap(ring, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE))
        program = self._kept(bpf.load(_program(self._layout.offsets, self._namespaces, self._lost, ring)))
        self._kept(bpf.attach(TRACEPOINT, program))

    def _kept(self, descriptor: int) -> int:
        self._undo.callback(os.close, descriptor)
        return descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the tracing; once more is nothing."""
        self._undo.close()

    def watch(self, namespaces: Iterable[int]) -> None:
        """From now on drops in these (inodes) are kept. Raises HostError where they are too many at once."""
        try:
            for each in namespaces:
                bpf.put(self._namespaces, struct.pack("=I", each), b"\1")
        except OSError as error:
            raise HostError(f"drops can be traced in {_NAMESPACES} namespaces at once: {error.strerror}") from error

    def leave(self, namespaces: Iterable[int]) -> None:
        """The opposite; one that is not watched is nothing."""
        for each in namespaces:
            with contextlib.suppress(FileNotFoundError):
                bpf.remove(self._namespaces, struct.pack("=I", each))

    @property
    def lost(self) -> int:
        """How many found no room since the beginning."""
        number: int = struct.unpack("=Q", bpf.get(self._lost, bytes(4), 8))[0]
        return number

    def take(self) -> list[Dropped]:
        """Those that came since the last time, in order."""
        return sorted(map(self._told, self._records()), key=lambda dropped: dropped.time)

    def _records(self) -> Iterator[bytes]:
        """Documentation/bpf/ringbuf.rst: two counters that only grow, and records with a length of their own before each."""
        (at,) = struct.unpack_from("=Q", self._consumer)
        (end,) = struct.unpack_from("=Q", self._producer)
        while at < end:
            begin = mmap.PAGESIZE + at % _ROOM
            (length,) = struct.unpack_from("=I", self._producer, begin)
            if length & _BUSY:
                break
            if not length & _DISCARDED:
                yield self._producer[begin + 8 : begin + 8 + (length & _LENGTH_MASK)]
            at += ((length & _LENGTH_MASK) + 8 + 7) // 8 * 8
            struct.pack_into("=Q", self._consumer, 0, at)

    def _told(self, record: bytes) -> Dropped:
        fields = _RECORD.unpack(record[: _RECORD.size])
        when, location, reason, namespace, _, length, mac, network, transport, protocol, _, start, name, head, data, kept = (
            fields
        )
        there = min(max(data - head + length - start, 0), _BYTES)
        header = network - start
        has_mac = start == mac != _NO_HEADER and header >= 14
        return Dropped(
            when / 1e9,
            namespace,
            name.partition(b"\0")[0].decode(errors="replace"),
            self._layout.reasons.get(reason, f"reason {reason:#x}"),
            int.from_bytes(struct.pack("=H", protocol)),
            kept[:14] if has_mac else b"",
            kept[max(header, 0) : there],
            transport - network if transport != _NO_HEADER else -1,
            location,
        )


# -- the program: R6 is the tracepoint's arguments, R7 the packet, R8 its device, R9 the record

_POINTER, _NET, _INODE, _KEY = -8, -16, -24, -32  # on the stack


def _program(offsets: Mapping[str, int], namespaces: int, lost: int, ring: int) -> list[bytes]:
    whole = [bpf.copy(R6, R1), bpf.loaded(R7, R6, 0, 8), *(bpf.zeroed(R10, at) for at in (_POINTER, _NET, _INODE, _KEY))]
    by_socket = [
        *_pointer(R7, offsets["sk"]),
        *_looked_up(offsets["net of socket"], offsets, namespaces),
        *bpf.over_if(R0, 0, [bpf.set_to(R0, 0), bpf.EXIT], equal=False),
        bpf.set_to(R8, 0),
    ]
    whole += [*_pointer(R7, offsets["dev"]), *_looked_up(offsets["net of device"], offsets, namespaces)]
    return [*whole, *bpf.over_if(R0, 0, by_socket, equal=False), *_reserved(ring, lost), *_filled(offsets), *_submitted()]


def _read(to: int, offset: int, size: int, source: int, at: int) -> list[bytes]:
    """`size` bytes of the kernel's at `source` + `at`, written to `to` + `offset`; zeros where there is nothing to read."""
    where = [bpf.copy(R1, to), bpf.add(R1, offset), bpf.set_to(R2, size), bpf.copy(R3, source), bpf.add(R3, at)]
    return [*where, bpf.call(bpf.READ_KERNEL)]


def _pointer(source: int, at: int) -> list[bytes]:
    """R8 = the pointer that is there."""
    return [*_read(R10, _POINTER, 8, source, at), bpf.loaded(R8, R10, _POINTER, 8)]


def _looked_up(net: int, offsets: Mapping[str, int], namespaces: int) -> list[bytes]:
    """R0 is 0 where what R8 points to has no namespace that is watched."""
    inode = [*_read(R10, _NET, 8, R8, net), bpf.loaded(R3, R10, _NET, 8)]
    inode += [
        bpf.copy(R1, R10),
        bpf.add(R1, _INODE),
        bpf.set_to(R2, 4),
        bpf.add(R3, offsets["inode"]),
        bpf.call(bpf.READ_KERNEL),
    ]
    return [*inode, *bpf.address_of_map(R1, namespaces), bpf.copy(R2, R10), bpf.add(R2, _INODE), bpf.call(bpf.LOOKUP)]


def _reserved(ring: int, lost: int) -> list[bytes]:
    """R9 = room for a record; where there is none that is counted, and the program ends."""
    found = [bpf.set_to(R1, 1), bpf.counted(R0, 0, R1)]
    count = [*bpf.address_of_map(R1, lost), bpf.copy(R2, R10), bpf.add(R2, _KEY), bpf.call(bpf.LOOKUP)]
    full = [*count, *bpf.over_if(R0, 0, found), bpf.set_to(R0, 0), bpf.EXIT]
    asked = [*bpf.address_of_map(R1, ring), bpf.set_to(R2, _RECORD.size), bpf.set_to(R3, 0), bpf.call(bpf.RESERVE)]
    return [*asked, *bpf.over_if(R0, 0, full, equal=False), bpf.copy(R9, R0)]


def _filled(offsets: Mapping[str, int]) -> list[bytes]:
    whole = [bpf.call(bpf.KTIME), bpf.stored(R9, _TIME, R0, 8)]
    for source, at, target, size in ((R6, 8, _LOCATION, 8), (R6, 16, _REASON, 4), (R10, _INODE, _NAMESPACE, 4)):
        whole += [bpf.loaded(R1, source, at, size), bpf.stored(R9, target, R1, size)]
    of_packet = (
        ("len", _LENGTH, 4),
        ("protocol", _PROTOCOL, 2),
        ("skb_iif", _CAME_IN, 4),
        ("head", _HEAD, 8),
        ("data", _DATA, 8),
    )
    headers = zip(_HEADERS, (_MAC, _NETWORK, _TRANSPORT), strict=True)
    for name, target, size in (*of_packet, *((f"{name}_header", target, 2) for name, target in headers)):
        whole += _read(R9, target, size, R7, offsets[name])
    whole += [*_read(R9, _INDEX, 4, R8, offsets["ifindex"]), *_read(R9, _DEVICE, 16, R8, offsets["name"])]
    return [*whole, *_beginning()]


def _beginning() -> list[bytes]:
    """The packet from its Ethernet header on, or where it has none from its IP header."""
    start = [bpf.loaded(R1, R9, _MAC, 2), *bpf.over_if(R1, _NO_HEADER, [bpf.loaded(R1, R9, _NETWORK, 2)], equal=False)]
    start += [bpf.stored(R9, _START, R1, 4), bpf.loaded(R3, R9, _HEAD, 8), bpf.add_register(R3, R1)]
    return [*start, bpf.copy(R1, R9), bpf.add(R1, _KEPT), bpf.set_to(R2, _BYTES), bpf.call(bpf.READ_KERNEL)]


def _submitted() -> list[bytes]:
    return [bpf.copy(R1, R9), bpf.set_to(R2, 0), bpf.call(bpf.SUBMIT), bpf.set_to(R0, 0), bpf.EXIT]
