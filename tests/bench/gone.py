"""When is a network namespace gone? The one instrument for every row that ends with "everything gone".

The last reference only queues a namespace; the kernel frees it, its devices and its addresses later, in batches, in
the background (`cleanup_net` in net/core/net_namespace.c). Nothing tells user space that a batch is finished, but two
things can be observed, and one after the other they are proof:

1. Each watched namespace was taken from the queue: the number which it got in the watcher's own namespace
   (`RTM_NEWNSID`) is listed no more (`RTM_GETNSID`). A number is no reference; while a file, a mount, a process or a
   socket still holds the namespace, it stays listed. On its own this comes too early: numbers are forgotten at the
   beginning of a batch, and most of the time goes into the rest of it.
2. That batch is finished: a sentinel, an empty namespace let go after all the others were taken, was taken too. It
   cannot be in their batch, and the next batch begins when the one before has ended, with its devices, its `pernet`
   exits and its RCU barrier: there is one work item, on an ordered queue.

Both are looked at every POLL_S. Namespaces of others on the same machine cannot deceive it, only delay it.
Sources: rtnetlink(7), network_namespaces(7), linux/net_namespace.h, net/core/net_namespace.c.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

POLL_S = 0.001
DEADLINE_S = 60.0

CLONE_NEWNET = 0x40000000  # linux/sched.h
RTM_NEWNSID, RTM_GETNSID = 88, 90  # linux/rtnetlink.h
NETNSA_NSID, NETNSA_FD = 1, 3  # linux/net_namespace.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_RTGENMSG = b"\0\0\0\0"  # struct rtgenmsg, any family, padded
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


class StillThereError(Exception):
    """The deadline passed; says what is still there."""


class Watcher:
    """Numbers network namespaces in a namespace of its own and waits for their end. A context manager.

    Needs CAP_SYS_ADMIN; PermissionError without.
    """

    def __init__(self) -> None:
        self._socket = _in_new_namespace(_netlink_socket)
        self._sequence = 0

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def watch(self, namespaces: Iterable[str | Path]) -> int:
        """Take note of these namespaces, each a path such as /run/netns/a or /proc/7/ns/net, and hold none of them.

        Returns how many there are. OSError where a path cannot be opened or is no network namespace.
        """
        count = 0
        for path in namespaces:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._number(descriptor, str(path))
            finally:
                os.close(descriptor)
            count += 1
        return count

    def alive(self) -> int:
        """How many of the watched namespaces were not yet taken by the kernel's cleanup."""
        self._send(RTM_GETNSID, NLM_F_DUMP, b"")
        return sum(1 for kind, _ in self._answers() if kind == RTM_NEWNSID)

    def wait(self, deadline: float = DEADLINE_S) -> float:
        """Wait until all watched namespaces are gone; returns the moment (time.monotonic) at which they were.

        With none watched: until the kernel has finished with those it was at. StillThereError after `deadline` seconds.
        """
        end = time.monotonic() + deadline
        self._taken(end, "watched namespaces are still referred to")
        descriptor = _in_new_namespace(_own_namespace)
        try:
            self._number(descriptor, "the sentinel")
        finally:
            os.close(descriptor)
        return self._taken(end, "sentinel waits for the kernel's cleanup of network namespaces")

    def _taken(self, end: float, what: str) -> float:
        while left := self.alive():
            if time.monotonic() > end:
                raise StillThereError(f"{left} {what}")
            time.sleep(POLL_S)
        return time.monotonic()

    def _number(self, descriptor: int, path: str) -> None:
        anything = struct.pack("=HHi", 8, NETNSA_NSID, -1)
        self._send(RTM_NEWNSID, NLM_F_ACK, anything + struct.pack("=HHI", 8, NETNSA_FD, descriptor))
        for kind, body in self._answers():
            code = -struct.unpack_from("=i", body)[0] if kind == NLMSG_ERROR else 0
            if code:
                raise OSError(code, f"cannot watch: {os.strerror(code)}", path)

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        self._sequence += 1
        body = _RTGENMSG + attributes
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0) + body)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """(type, body) of each message up to the one that ends the answer, which is among them."""
        kind = 0
        while kind not in (NLMSG_DONE, NLMSG_ERROR):
            data = self._socket.recv(1 << 17)
            while data:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                yield kind, data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _in_new_namespace(work: Callable[[], T]) -> T:
    """What `work` returns in a thread of its own, in a network namespace of its own, which ends with the thread."""

    def enter_and_work() -> T:
        if _libc.unshare(CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"a new network namespace: {os.strerror(code)}")
        return work()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(enter_and_work).result()


def _netlink_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
