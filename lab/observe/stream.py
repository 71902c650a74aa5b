"""Numbered records that go to an echo server and come back over one TCP connection: whether all came, and the longest gap.

    with Echo(lab["server"].socket), Stream(lab["client"].socket, "10.9.0.9") as stream:
        stream.wait_on()
        lab["client"].run(["ip", "link", "set", "eth0", "down"])
        stream.wait_on()
    print(stream.longest().seconds)

A gap lies between two moments at which something came back. It is what a user of the connection notices: what the network
needs to find another way, and what TCP waits beyond that before it tries again (RFC 6298: the time doubles with every try).
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from lab.observe.conditions import ConditionTimeout
from lab.observe.echo import NO_LINGERING, PORT

INTERVAL, SIZE = 0.005, 200  # seconds between two records, bytes of each
_NUMBER = struct.Struct("!Q")
_MOST = 1 << 16
IN_A_ROW = 3
"""Records that show that it goes on."""
Make = Callable[[int, int], socket.socket]


@dataclass(frozen=True, slots=True)
class Gap:
    """`seconds` in which nothing came back, from `began` (time.monotonic()) on."""

    seconds: float
    began: float = 0.0


class Progress:
    """Records that come one after the other, when they came, and why no more do; noted by one thread, awaited by others."""

    def __init__(self) -> None:
        self._received = 0
        self._times: list[float] = []
        self._news = threading.Condition()
        self.error: OSError | None = None
        """Why it died."""

    @property
    def received(self) -> int:
        """Records that came, each once and in their order."""
        with self._news:
            return self._received

    def wait_dead(self, within: float = 10.0) -> OSError:
        """Until no more can come; why. Raises ConditionTimeout."""
        with self._news:
            if not self._news.wait_for(lambda: self.error is not None, within) or self.error is None:
                raise ConditionTimeout(f"within {within:g} s {self} did not die")
            return self.error

    def longest(self, since: float = 0.0) -> Gap:
        """The longest gap that ended after `since` (time.monotonic())."""
        with self._news:
            times = list(self._times)
        gaps = (Gap(after - before, before) for before, after in itertools.pairwise(times) if after >= since)
        return max(gaps, key=lambda gap: gap.seconds, default=Gap(0.0))

    def _wait_until(self, many: int, within: float) -> None:
        began = time.monotonic()
        with self._news:
            self._news.wait_for(lambda: self._received >= many or self.error is not None, within)
            if self._received < many:
                why = f"it died: {self.error}" if self.error else f"{time.monotonic() - began:.1f} s have passed"
                raise ConditionTimeout(f"{self} does not go on: {why}")

    def _came(self, many: int) -> None:
        with self._news:
            self._received += many
            self._times.append(time.monotonic())
            self._news.notify_all()

    def _died(self, error: OSError) -> None:
        with self._news:
            self.error = error
            self._news.notify_all()


class Stream(Progress):
    """A context manager that sends from its beginning to its end, in a thread of its own. `source` is bound to, if it is given;
    with `patience` the connection dies that many seconds after something sent was not acknowledged (TCP_USER_TIMEOUT).
    Raises OSError where the server cannot be reached."""

    def __init__(self, make: Make, address: str, port: int = PORT, source: str = "", patience: float = 0.0) -> None:
        super().__init__()
        self._sock = make(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self._server, self._bound, self._patience = (address, port), source, patience
        self._sent, self._part = 0, bytearray()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lab-stream", daemon=True)
        self.source = ""
        """The address that it comes from."""

    def __enter__(self) -> Self:
        try:
            self._connect()
        except BaseException:
            self._sock.close()
            raise
        self._thread.start()
        return self

    def _connect(self) -> None:
        sock = self._sock
        if self._bound:
            sock.bind((self._bound, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        sock.settimeout(5.0)
        sock.connect(self._server)
        sock.setblocking(False)
        self.give_up_after(self._patience)
        self.source = sock.getsockname()[0]

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sock.close()

    def __str__(self) -> str:
        return f"the connection of {self.source} to {self._server[0]}"

    def give_up_after(self, patience: float) -> None:
        """From now on the connection dies that many seconds after something sent was not acknowledged; never, if 0."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(patience * 1000))

    def wait_on(self, within: float = 10.0) -> None:
        """Until some records that are sent from now on are back. Raises ConditionTimeout, also where the connection died."""
        with self._news:
            until = self._sent + IN_A_ROW
        self._wait_until(until, within)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._ended.is_set():
                left = due - time.monotonic()
                if left <= 0:
                    self._send()
                    due = max(due + INTERVAL, time.monotonic())
                elif select.select([self._sock], [], [], left)[0]:
                    self._receive()
        except OSError as error:
            self._died(error)

    def _send(self) -> None:
        """One record, whole or not at all: a socket that takes no more now is asked again when the next one is due."""
        record = _NUMBER.pack(self._sent).ljust(SIZE, b".")
        if not select.select([], [self._sock], [], 0)[1]:
            return
        try:
            taken = self._sock.send(record)
        except BlockingIOError:
            return
        if taken < SIZE:
            self._sock.settimeout(5.0)
            self._sock.sendall(record[taken:])
            self._sock.setblocking(False)
        with self._news:
            self._sent += 1

    def _receive(self) -> None:
        data = self._sock.recv(_MOST)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        self._part += data
        whole = len(self._part) // SIZE
        for at in range(whole):
            (number,) = _NUMBER.unpack_from(self._part, at * SIZE)
            if number != self._received + at:
                raise OSError(f"record {number} came where {self._received + at} was due")
        del self._part[: whole * SIZE]
        self._came(whole)
