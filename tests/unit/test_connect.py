"""Orders of addresses, and attempts to connect on the host's loopback: to who listens, who refuses and who keeps silent."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.observe.connect import (
    CONNECTED,
    GIVEN_UP,
    TOO_LATE,
    V4,
    V6,
    Strategy,
    connect,
    grouped,
    happy_eyeballs,
    in_sequence,
)

SIXES, FOURS = ["2001:db8::1", "2001:db8::2", "2001:db8::3"], ["10.0.0.1", "10.0.0.2"]
LONG, SHORT = 30.0, 0.05  # seconds: never waited for, and always


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        (in_sequence(1), [FOURS[0], *SIXES, FOURS[1]]),
        (grouped(V6, 1), [*SIXES, *FOURS]),
        (grouped(V4, 1), [*FOURS, *SIXES]),
        (happy_eyeballs(1), [FOURS[0], SIXES[0], FOURS[1], SIXES[1], SIXES[2]]),
    ],
)
def test_a_strategy_has_its_order(strategy: Strategy, order: list[str]) -> None:
    assert strategy.order([FOURS[0], *SIXES, FOURS[1]]) == order


@pytest.mark.parametrize("strategy", [in_sequence(1), grouped(V6, 1), happy_eyeballs(1)])
def test_no_addresses_have_an_order_too(strategy: Strategy) -> None:
    assert strategy.order([]) == []


def test_only_happy_eyeballs_go_on_beside_an_attempt() -> None:
    assert [each(1.0).stagger for each in (in_sequence, happy_eyeballs)] == [math.inf, 0.25]


@pytest.fixture
def port() -> Iterator[int]:
    """One TCP port at which 127.0.0.1 answers, 127.0.0.2 refuses, and 127.0.0.3 and 127.0.0.4 keep silent."""
    with ExitStack() as stack:
        answering = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        number = answering.getsockname()[1]
        for address in ("127.0.0.3", "127.0.0.4"):
            stack.enter_context(socket.create_server((address, number), backlog=0))
            stack.enter_context(socket.create_connection((address, number)))  # nothing more has room: SYNs are dropped
        yield number


def new(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM)


def ends(addresses: list[str], port: int, strategy: Strategy, source: str | None = None) -> list[tuple[str, str]]:
    with connect(new, [f"127.0.0.{each}" for each in addresses], port, strategy, source) as reached:
        assert (reached.sock is not None) == (reached.address is not None)
        if reached.sock is not None:
            assert reached.sock.getpeername() == (reached.address, port)
            assert reached.sock.getblocking()
        return [(each.address[-1], each.end) for each in reached.attempts]


def test_the_first_that_answers_is_the_last_that_is_tried(port: int) -> None:
    assert ends(["1", "2"], port, in_sequence(LONG)) == [("1", CONNECTED)]


def test_a_refusal_lets_the_next_begin_at_once(port: int) -> None:
    for strategy in (in_sequence(LONG), happy_eyeballs(LONG, LONG)):
        assert ends(["2", "1"], port, strategy) == [("2", "ECONNREFUSED"), ("1", CONNECTED)]


def test_silence_costs_the_patience_of_an_attempt(port: int) -> None:
    with connect(new, ["127.0.0.3", "127.0.0.4", "127.0.0.1"], port, in_sequence(SHORT)) as reached:
        assert [each.end for each in reached.attempts] == [GIVEN_UP, GIVEN_UP, CONNECTED]
        assert all(each.lasted >= SHORT for each in reached.attempts[:2])
        assert reached.attempts[1].began >= reached.attempts[0].began + reached.attempts[0].lasted
        assert reached.seconds >= 2 * SHORT


def test_beside_silence_the_next_begins_after_the_stagger(port: int) -> None:
    with connect(new, ["127.0.0.3", "127.0.0.4", "127.0.0.1"], port, happy_eyeballs(LONG, SHORT)) as reached:
        assert [each.end for each in reached.attempts] == [TOO_LATE, TOO_LATE, CONNECTED]
        assert [each.began >= number * SHORT for number, each in enumerate(reached.attempts)] == [True] * 3
        assert reached.seconds < LONG


def test_silence_everywhere_reaches_nobody(port: int) -> None:
    assert ends(["3", "4"], port, happy_eyeballs(SHORT, SHORT / 2)) == [("3", GIVEN_UP), ("4", GIVEN_UP)]
    assert ends([], port, in_sequence(LONG)) == []


def test_a_source_is_what_the_server_sees_and_leaves_its_own_family(port: int) -> None:
    with connect(new, ["::1", "127.0.0.1"], port, in_sequence(LONG), source="127.0.0.9") as reached:
        assert reached.ends == {"127.0.0.1": CONNECTED}
        assert reached.sock is not None
        assert reached.sock.getsockname()[0] == "127.0.0.9"


def test_a_source_that_the_host_lacks_fails_the_attempt_and_not_the_rest(port: int) -> None:
    assert ends(["1"], port, in_sequence(LONG), source="192.0.2.1") == [("1", errno.errorcode[errno.EADDRNOTAVAIL])]


def test_what_the_kernel_refuses_at_once_fails_the_attempt(port: int) -> None:
    with connect(new, ["255.255.255.255", "127.0.0.1"], port, in_sequence(LONG)) as reached:
        assert reached.ends["127.0.0.1"] == CONNECTED
        assert reached.ends["255.255.255.255"] in {"ENETUNREACH", "EACCES"}


def test_every_socket_but_the_winners_is_closed(port: int) -> None:
    made: list[socket.socket] = []

    def make(family: int) -> socket.socket:
        made.append(new(family))
        return made[-1]

    with connect(make, ["127.0.0.3", "127.0.0.2", "127.0.0.1"], port, happy_eyeballs(LONG, SHORT)) as reached:
        assert [sock for sock in made if sock.fileno() != -1] == [reached.sock]
    assert all(sock.fileno() == -1 for sock in made)
