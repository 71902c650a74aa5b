"""Frames as they pass interfaces of nodes: AF_PACKET sockets in the nodes' namespaces, read by one thread, in the order of
their kernel time stamps.

What a frame means is `wire`'s matter, how it is kept in a file `pcapng`'s. A frame is whole: a VLAN tag that the kernel took
off (packet(7), PACKET_AUXDATA) is put back. See packet(7) and Documentation/networking/packet_mmap.rst.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import HostError
from lab.substrate import namespaces

_ETH_P_ALL, _ALL_BYTES = 0x0003, 262_144
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_STATISTICS = 263, 8, 6  # include/linux/socket.h, include/uapi/linux/if_packet.h
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 35, 33, 26
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40  # TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
_TIMESPEC = struct.Struct("=qq")
_OUTGOING = 4  # PACKET_OUTGOING
_ROOM = 8 << 20  # bytes of a socket's receive buffer
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

Filter = Sequence[tuple[int, int, int, int]]
"""A classic BPF program, instruction by instruction, as `wire.compiled` makes it from tcpdump's language."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One place to listen at."""

    node: str
    device: str
    ns: Path

    def __str__(self) -> str:
        return f"{self.node}:{self.device}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, from its destination's MAC address on. `time` in nanoseconds since the epoch, by the kernel; `sent` by the
    node itself, or else received; `length` on the wire, of which `data` may be the beginning."""

    interface: Interface
    time: int
    sent: bool
    data: bytes
    length: int


class Capture:
    """A context manager that gathers frames from its beginning to its end; `told` hears of each, in the reader's thread.

    Every socket is bound before the block begins: no frame that is sent in it is missed. Raises HostError where an
    interface does not exist."""

    def __init__(
        self,
        interfaces: Sequence[Interface],
        program: Filter = (),
        told: Callable[[Frame], object] | None = None,
        keep: bool = True,
    ) -> None:
        self._interfaces, self._program, self._told, self._keep = interfaces, program, told, keep
        self._frames: list[Frame] = []
        self._news = threading.Condition()
        self._sockets: dict[int, tuple[socket.socket, Interface]] = {}
        self._lost: dict[str, int] = {}
        self._end = -1
        self._thread = threading.Thread(target=self._read, name="lab-capture", daemon=True)

    def __enter__(self) -> Capture:
        try:
            for interface in self._interfaces:
                sock = namespaces.inside(interface.ns, _listen, interface, self._program)
                self._sockets[sock.fileno()] = sock, interface
            self._end = os.eventfd(0, os.EFD_CLOEXEC)
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._end)
        self._close()

    def _close(self) -> None:
        for sock, interface in self._sockets.values():
            _, lost = struct.unpack("=II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            self._lost[str(interface)] = lost
            sock.close()
        self._sockets = {}

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What has come until now, also what the reader has not come to yet."""
        with self._news:
            self._catch_up()
            return tuple(sorted(self._frames, key=lambda frame: frame.time))

    @property
    def lost(self) -> Mapping[str, int]:
        """Frames that the kernel had no room to keep, by interface; known once the capture has ended."""
        return {interface: lost for interface, lost in self._lost.items() if lost}

    def wait_for_more(self, than: int, deadline: float) -> bool:
        """Waits until more than so many frames have come; false at `deadline` (time.monotonic())."""
        with self._news:
            return self._news.wait_for(lambda: len(self._frames) > than, max(0.0, deadline - time.monotonic()))

    def _read(self) -> None:
        poll = select.poll()
        for fd in (self._end, *self._sockets):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            for fd in ready:
                if fd != self._end:
                    self._take(*self._sockets[fd])
            if ready == [self._end]:  # only once nothing is left to read
                return

    def _catch_up(self) -> None:
        """No further than to what has been queued by now: under steady traffic there is always more."""
        now = time.time_ns()
        for sock, interface in self._sockets.values():
            while (frame := self._take(sock, interface)) and frame.time < now:
                pass

    def _take(self, sock: socket.socket, interface: Interface) -> Frame | None:
        with self._news:
            try:
                data, ancillary, _, address = sock.recvmsg(_ALL_BYTES, 256, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
            except OSError:  # taken already; or the device went down or away: ENETDOWN is told once
                return None
            frame = _frame(interface, data, ancillary, address[2] == _OUTGOING)
            if self._told:
                self._told(frame)
            if self._keep:
                self._frames.append(frame)
            self._news.notify_all()
            return frame


def _listen(interface: Interface, program: Filter) -> socket.socket:
    """A socket with protocol 0 hears nothing until it is bound: then its filter is there already."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        _make_room(sock)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if program:
            _attach(sock, program)
        sock.bind((interface.device, _ETH_P_ALL))
    except OSError as error:
        sock.close()
        hint = f"see what there is: lab exec LAB {interface.node} -- ip link"
        raise HostError(f"cannot capture at {interface}: {error.strerror}", hint) from error
    return sock


def _make_room(sock: socket.socket) -> None:
    """Beyond net.core.rmem_max; in a user namespace nobody may (net/core/sock.c, SO_RCVBUFFORCE), and gets as much as that."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)


def _attach(sock: socket.socket, program: Filter) -> None:
    """SO_ATTACH_FILTER takes struct sock_fprog, which points to the instructions."""
    import ctypes

    instructions = b"".join(_INSTRUCTION.pack(*each) for each in program)
    held = ctypes.create_string_buffer(instructions, len(instructions))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(held)))


def _frame(interface: Interface, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], sent: bool) -> Frame:
    when, length = time.time_ns(), len(data)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, rest = _TIMESPEC.unpack(value)
            when = seconds * 1_000_000_000 + rest
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, length, _, _, _, tci, tpid = _AUXDATA.unpack(value)
            if status & _VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & _VLAN_TPID_VALID else 0x8100, tci)
                data, length = data[:12] + tag + data[12:], length + len(tag)
    return Frame(interface, when, sent, data, length)
