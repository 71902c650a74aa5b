"""A node that sends back what it gets, over TCP and UDP and both families, and remembers who asked.

    with Echo(lab["server"].socket) as echo:
        lab["client"].run([...])                       # connects to port 7, or sends a datagram there
        print(echo.asked)

Nothing runs on the node: the sockets are its own, and who answers is a thread of the calling process.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

PORT = 7  # RFC 862
NO_LINGERING = struct.pack("ii", 1, 0)
"""SO_LINGER: closed at once by a reset. One whose far end is out of reach would go on trying, and keep its namespace alive."""
_MOST = 1 << 16
_V4_MAPPED = "::ffff:"
Make = Callable[[int, int], socket.socket]
"""A new socket of a family and a type, such as `Node.socket`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked, by the source address, over "tcp" or "udp"; `data` is what a datagram said, empty of a connection."""

    protocol: str
    source: str
    data: bytes = b""


class Echo:
    """A context manager; raises OSError where the port is taken. Another `port` takes datagrams of any protocol over UDP."""

    def __init__(self, make: Make, port: int = PORT) -> None:
        self._make, self._port = make, port
        self._asked: list[Asked] = []
        self._rest: dict[socket.socket, bytearray] = {}
        self._news = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._answer, name="lab-echo", daemon=True)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            self._selector.register(self._ended, selectors.EVENT_READ)
            for kind, do in ((socket.SOCK_STREAM, self._accept), (socket.SOCK_DGRAM, self._datagram)):
                self._selector.register(self._bound(kind), selectors.EVENT_READ, do)
            self._thread.start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()
        self._close()

    def _bound(self, kind: int) -> socket.socket:
        sock = self._make(socket.AF_INET6, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind(("::", self._port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._end.close()

    @property
    def asked(self) -> tuple[Asked, ...]:
        with self._news:
            return tuple(self._asked)

    def wait(self, wanted: Callable[[Asked], bool], within: float = 5.0) -> Asked:
        """The first who asked that is `wanted`. Raises TimeoutError after `within` seconds."""
        with self._news:
            if not self._news.wait_for(lambda: any(map(wanted, self._asked)), within):
                raise TimeoutError(f"within {within:g} s nobody like that asked; there were {self._asked}")
            return next(filter(wanted, self._asked))

    def _answer(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ended:
                    return
                key.data(key.fileobj)

    def _accept(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is gone again
            connection, name = sock.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
            self._selector.register(connection, selectors.EVENT_READ, self._stream)
            self._note(Asked("tcp", _plain(name[0])))

    def _datagram(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # an error of ICMP's, which the socket tells once
            data, name = sock.recvfrom(_MOST)
            self._note(Asked("udp", _plain(name[0]), data))
            sock.sendto(data, name)

    def _stream(self, sock: socket.socket) -> None:
        """Takes what there is, and gives back as much as the socket takes; the rest waits until it takes more."""
        rest = self._rest.setdefault(sock, bytearray())
        try:
            with contextlib.suppress(BlockingIOError):
                if not (data := sock.recv(_MOST)):
                    raise ConnectionResetError
                rest += data
            with contextlib.suppress(BlockingIOError):
                while rest:
                    del rest[: sock.send(rest)]
        except OSError:  # the connection has ended, one way or the other
            self._selector.unregister(sock)
            del self._rest[sock]
            sock.close()
            return
        self._selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if rest else 0), self._stream)

    def _note(self, asked: Asked) -> None:
        with self._news:
            self._asked.append(asked)
            self._news.notify_all()


def _plain(address: str) -> str:
    return address.removeprefix(_V4_MAPPED)
