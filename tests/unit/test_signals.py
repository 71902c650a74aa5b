"""Signals that are held back, as the main thread of a process sees them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lab.substrate import signals


class HeardError(Exception):
    """A handler's."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def hear(number: int, _frame: object) -> None:
        raise HeardError(number)

    before = signal.signal(signal.SIGTERM, hear)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    signal.signal(signal.SIGTERM, before)


def test_a_signal_arrives_when_the_block_is_done() -> None:
    done = False
    with pytest.raises(HeardError), signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        done = True
    assert done


def test_a_signal_that_is_not_named_arrives_at_once() -> None:
    with pytest.raises(HeardError), signals.held_back({signal.SIGUSR1}):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it was held back")


@pytest.mark.parametrize("numbers", [signals.INTERRUPTS, signals.EVERY, {signal.SIGUSR1}])
def test_they_are_blocked_in_the_block_beside_those_that_were(numbers: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with signals.held_back(numbers):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        after = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    assert blocked == (set(numbers) | {signal.SIGUSR2}) - {signal.SIGKILL, signal.SIGSTOP}
    assert after == {signal.SIGUSR2}


def test_blocks_within_blocks_hold_back_until_the_outer_is_done() -> None:
    reached = []
    with pytest.raises(HeardError), signals.held_back():
        with signals.held_back(signals.EVERY):
            signal.raise_signal(signal.SIGTERM)
        reached.append("the inner one is done")
    assert reached


def test_what_is_no_signal_is_refused() -> None:
    with pytest.raises(OSError, match="signal 999"), signals.held_back({999}):
        pytest.fail("it was taken")
