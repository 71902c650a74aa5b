"""Connecting to a host of many addresses, of which some do not answer: which is tried when, and what became of each.

A strategy is an order, the time that one attempt may take, and what the next attempt waits for:

    in_sequence       as the resolver gave them, the next when the one before has failed
    grouped           the same, all of one family before all of the other
    happy_eyeballs    by turns of the families, the next beside the one before when that takes long (RFC 8305)

The sockets come from the caller: `connect(lab["proxy"].socket, addresses, 80, in_sequence(patience=0.5))`.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

V4, V6 = socket.AF_INET, socket.AF_INET6
Make = Callable[[int], socket.socket]
"""A new TCP socket of a family, such as `Node.socket`."""
Order = Callable[[Sequence[str]], list[str]]

CONNECTED, GIVEN_UP, TOO_LATE = "connected", "given up", "too late"
"""How an attempt ends beside the names of errors: it won, it lasted as long as it may, or another one won."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """`patience`: seconds that one attempt may last. `stagger`: seconds after which the next begins beside those that last;
    without it the next begins when none lasts any more."""

    order: Order
    patience: float
    stagger: float = math.inf


def in_sequence(patience: float) -> Strategy:
    return Strategy(list, patience)


def grouped(first: int, patience: float) -> Strategy:
    """All addresses of the family `first` (AF_INET or AF_INET6), then all others."""
    return Strategy(lambda addresses: sorted(addresses, key=lambda each: family(each) != first), patience)


def happy_eyeballs(patience: float, stagger: float = 0.25) -> Strategy:
    """The families by turns, beginning with that of the first address; an attempt that fails lets the next one begin at once
    (RFC 8305, sections 4 and 5). The RFC's `stagger` is 250 ms, 10 ms at least and 2 s at most."""
    return Strategy(_by_turns, patience, stagger)


def _by_turns(addresses: Sequence[str]) -> list[str]:
    first = [each for each in addresses if family(each) == family(addresses[0])]
    others = [each for each in addresses if each not in first]
    return [each for pair in itertools.zip_longest(first, others) for each in pair if each is not None]


def family(address: str) -> int:
    return V6 if ":" in address else V4


@dataclass(frozen=True, slots=True)
class Attempt:
    """`began` and `lasted` in seconds, the one since the connecting began; `end` is CONNECTED, GIVEN_UP, TOO_LATE, or the
    name of the kernel's error, such as ECONNREFUSED."""

    address: str
    began: float
    lasted: float
    end: str


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of it, a context manager: `sock` is connected, None where no address answered, and closed with the block;
    `attempts` in the order of their beginnings; `seconds` that all of it took."""

    sock: socket.socket | None
    attempts: tuple[Attempt, ...]
    seconds: float

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.sock is not None:
            self.sock.close()

    @property
    def ends(self) -> dict[str, str]:
        """How the attempt at each address ended."""
        return {each.address: each.end for each in self.attempts}

    @property
    def address(self) -> str | None:
        """The one that answered."""
        return next((each.address for each in self.attempts if each.end == CONNECTED), None)


def connect(make: Make, addresses: Sequence[str], port: int, strategy: Strategy, source: str | None = None) -> Reached:
    """Tries the addresses as the strategy has it until one answers. With a `source` address, which every socket is bound to,
    only those of its family are tried. Raises OSError only where no socket can be made."""
    wanted = [each for each in addresses if source is None or family(each) == family(source)]
    race = _Race(make, port, strategy, source, deque(strategy.order(wanted)))
    try:
        winner = race.run()
    finally:
        race.end_all()
    attempts = sorted(race.done, key=lambda attempt: attempt.began)
    return Reached(winner, tuple(attempts), race.now())


@dataclass(slots=True)
class _Race:
    make: Make
    port: int
    strategy: Strategy
    source: str | None
    waiting: deque[str]
    lasting: dict[socket.socket, tuple[str, float]] = field(default_factory=dict)
    done: list[Attempt] = field(default_factory=list)
    next_at: float = 0.0
    _zero: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        return time.monotonic() - self._zero

    def run(self) -> socket.socket | None:
        while self.waiting or self.lasting:
            if self.waiting and (not self.lasting or self.now() >= self.next_at):
                self._begin(self.waiting.popleft())
                if not self.lasting:
                    continue
            for sock in self._ready():  # also where the next is due already: who was kept waiting may have won meanwhile
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    self._end(sock, CONNECTED, close=False)
                    sock.setblocking(True)
                    return sock
                self._failed(sock, errno.errorcode[code])
            for sock in [sock for sock, (_, began) in self.lasting.items() if self.now() >= began + self.strategy.patience]:
                self._failed(sock, GIVEN_UP)
        return None

    def end_all(self) -> None:
        for sock in list(self.lasting):
            self._end(sock, TOO_LATE)

    def _begin(self, address: str) -> None:
        sock = self.make(family(address))
        self.lasting[sock] = address, self.now()
        self.next_at = self.now() + self.strategy.stagger
        try:
            if self.source is not None:
                sock.bind((self.source, 0))
            sock.setblocking(False)
            sock.connect((address, self.port))
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(sock, errno.errorcode.get(error.errno or 0, os.strerror(error.errno or 0)))

    def _ready(self) -> list[socket.socket]:
        """Sockets whose attempt has ended, waited for until something else is due."""
        due = [began + self.strategy.patience for _, began in self.lasting.values()]
        until = min([*due, self.next_at] if self.waiting else due)
        poll = select.poll()
        by_number = {sock.fileno(): sock for sock in self.lasting}
        for number in by_number:
            poll.register(number, select.POLLOUT)
        ready = poll.poll(max(0, math.ceil((until - self.now()) * 1000)))
        return [by_number[number] for number, _ in ready]

    def _failed(self, sock: socket.socket, end: str) -> None:
        """A failure lets the next one begin."""
        self._end(sock, end)
        self.next_at = 0.0

    def _end(self, sock: socket.socket, end: str, close: bool = True) -> None:
        address, began = self.lasting.pop(sock)
        self.done.append(Attempt(address, began, self.now() - began, end))
        if close:
            sock.close()
