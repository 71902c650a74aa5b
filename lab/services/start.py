"""Starts the services of a lab: those of one node one after another, in the file's order, and the nodes side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

from lab.services.living import Service
from lab.services.ready import Readiness

_AMONG_ALL = 0.01  # seconds in which every node is looked at once


def start_all(services: Iterable[Service], wait: bool, told: Callable[[Service], object] = lambda _: None) -> None:
    """Starts each once the one before it on its node is ready, and returns when all are; without `wait` at once.

    `told` hears of each before it is started. Raises StepError for the first that cannot be started, ends, or is not ready in
    its time; the others are left as they are."""
    queues: dict[str, list[Service]] = {}
    for service in services:
        queues.setdefault(service.spec.node, []).append(service)
    if not wait:
        for queue in queues.values():
            for service in queue:
                told(service)
                service.start()
        return
    with contextlib.ExitStack() as undo:
        _in_turns([_Queue(queue, told, undo) for queue in queues.values()])


class _Queue:
    """The services of one node that are still to come; the first of them is being started."""

    def __init__(self, services: list[Service], told: Callable[[Service], object], undo: contextlib.ExitStack) -> None:
        self._waiting, self._told, self._undo = iter(services), told, undo
        self._current: tuple[Service, Readiness, float] | None = None

    def step(self, patience: float) -> bool:
        """Looks once, for `patience` seconds at most; false when there is nothing more to do."""
        if self._current is None:
            return self._next()
        service, readiness, deadline = self._current
        if service.looks_ready(readiness, deadline, patience):
            self._current = None
        return True

    def _next(self) -> bool:
        service = next(self._waiting, None)
        if service is None:
            return False
        self._told(service)
        service.start()
        self._current = service, self._undo.enter_context(service.readiness()), time.monotonic() + service.spec.timeout
        return True


def _in_turns(queues: list[_Queue]) -> None:
    while queues:
        queues = [queue for queue in queues if queue.step(_AMONG_ALL / len(queues))]
