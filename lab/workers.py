"""`lab run -j`: the scenarios of a run side by side, each in a process of its own; a pytest plugin in the place of its loop.

Everything is collected once, as in any run. Then each scenario's checks go to a process that is forked for them, and what it
reports comes back over a pipe and through pytest's own hooks, scenario by scenario in the order of the collection: whatever
listens (the terminal, JUnit, JSON) hears the same as without -j. A process that is killed is told as a fault.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

import pytest

from lab.errors import LabError
from lab.pytest_plugin import FAULT, STATUS
from lab.substrate import signals, syscalls

_BROKEN_OFF = (EOFError, OSError)  # of a process that was killed while it wrote


@dataclass(slots=True)
class _Worker:
    """One process and the checks of one scenario; `told` is what it reported and nobody was told yet."""

    items: Sequence[pytest.Item]
    pid: int = 0
    pidfd: int = -1
    pipe: Connection[Any, Any] | None = None
    told: deque[tuple[str, Any]] = field(default_factory=deque)
    done: int = 0
    """How many of its checks are decided."""
    ended: bool = False

    @property
    def running(self) -> bool:
        return self.pid > 0 and not self.ended


class Workers:
    """At most `jobs` processes at a time. `alone` is a block in which this process has no second thread; `told` hears of
    problems that are no check's, in words, with the exit status that they ask for."""

    def __init__(
        self,
        jobs: int,
        recorder: object,
        alone: Callable[[], contextlib.AbstractContextManager[object]],
        told: Callable[[str, int], object],
    ) -> None:
        self._jobs, self._recorder, self._alone, self._told = jobs, recorder, alone, told
        self._workers: list[_Worker] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Leaves to pytest what it tells better: that something could not be collected."""
        self._workers = [_Worker(list(items)) for _, items in groupby(session.items, lambda item: item.path)]
        if session.testsfailed or len(self._workers) < 2:
            return None
        _import_once()
        try:
            self._work(session)
        except KeyboardInterrupt as interrupt:
            self._undo(session, interrupt)
            raise
        return True

    def _work(self, session: pytest.Session) -> None:
        # The longest should not come last: as far as one knows, that is who has most to check.
        waiting = deque(sorted(self._workers, key=lambda worker: -len(worker.items)))
        while waiting or self._running():
            while waiting and len(self._running()) < self._jobs:
                self._start(waiting.popleft(), session)
            self._hear(session)

    def _running(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.running]

    def _start(self, worker: _Worker, session: pytest.Session) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or the child would have a copy of what is still to be written
        reader, writer = Pipe(duplex=False)
        with self._alone(), signals.held_back():
            pid = os.fork()
            if pid == 0:
                _serve(session, worker.items, self._recorder, writer)
            writer.close()
            worker.pid, worker.pipe, worker.pidfd = pid, reader, os.pidfd_open(pid)

    def _hear(self, session: pytest.Session) -> None:
        """Waits for news, takes them, and tells on what can be told in order."""
        running = self._running()
        ready = set(wait([each for worker in running for each in (worker.pipe, worker.pidfd) if each is not None]))
        with signals.held_back():
            for worker in running:
                if worker.pipe in ready or worker.pidfd in ready:
                    self._read(worker)
                if worker.pidfd in ready:
                    self._reap(worker)
        self._tell(session)

    def _read(self, worker: _Worker) -> None:
        assert worker.pipe is not None
        with contextlib.suppress(*_BROKEN_OFF):
            while worker.pipe.poll():
                worker.told.append(worker.pipe.recv())

    def _reap(self, worker: _Worker) -> None:
        assert worker.pipe is not None
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        os.close(worker.pidfd)
        worker.pipe.close()
        worker.ended = True
        if code:
            worker.told.append(("died", code))

    def _tell(self, session: pytest.Session) -> None:
        """All of the first scenarios that have ended, and what there is of the next one."""
        for worker in self._workers:
            while worker.told:
                self._pass_on(worker, *worker.told.popleft(), session)
            if not worker.ended:
                return

    def _pass_on(self, worker: _Worker, kind: str, what: Any, session: pytest.Session) -> None:
        hook = session.config.hook
        if kind == "start":
            hook.pytest_runtest_logstart(nodeid=what[0], location=what[1])
        elif kind == "report":
            report = hook.pytest_report_from_serializable(config=session.config, data=what)
            worker.done += report.when == "teardown"
            hook.pytest_runtest_logreport(report=report)
        elif kind == "died":
            self._died(worker, what, session)
        else:
            self._told(what, FAULT if kind == "fault" else 0)

    def _died(self, worker: _Worker, code: int, session: pytest.Session) -> None:
        """The check that it was at is one that could not be made; what its lab left is removed."""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        left = len(worker.items) - worker.done - 1
        more = f"; {left} more of its checks were not made" if left > 0 else ""
        item = worker.items[min(worker.done, len(worker.items) - 1)]
        for report in _of_killed(item, f"the process of this scenario {how} while it ran this check{more}"):
            session.config.hook.pytest_runtest_logreport(report=report)
        self._sweep()

    def _sweep(self) -> None:
        from lab import undo

        if os.geteuid() == 0:
            try:
                undo.prune()
            except LabError as error:
                self._told(str(error), 0)

    def _undo(self, session: pytest.Session, interrupt: KeyboardInterrupt) -> None:
        """Hands the interrupt on and waits until every process has undone what it made; once more if there is one more."""
        while self._running():
            with contextlib.suppress(KeyboardInterrupt):
                for worker in self._running():
                    signal.pidfd_send_signal(worker.pidfd, self._as_signal(interrupt))
                while self._running():
                    self._hear_of_the_end()
        for worker in self._workers:
            worker.told = deque(each for each in worker.told if each[0] != "died")
            worker.ended = True
        self._tell(session)

    def _as_signal(self, interrupt: KeyboardInterrupt) -> signal.Signals:
        return signal.SIGINT if type(interrupt) is KeyboardInterrupt else signal.SIGTERM

    def _hear_of_the_end(self) -> None:
        ready = set(wait([worker.pidfd for worker in self._running()], 0.1))
        with signals.held_back():
            for worker in self._running():
                self._read(worker)  # or it would wait for room in its pipe
                if worker.pidfd in ready:
                    self._reap(worker)


def _import_once() -> None:
    """What the first lab of every process would import anew, which takes longer than to build it."""
    import lab.model.parse
    import lab.observe.evidence
    import lab.observe.ready
    import lab.recipe
    import lab.substrate.build
    import lab.substrate.processes
    import lab.substrate.spawner  # noqa: F401


def _of_killed(item: pytest.Item, said: str) -> Iterator[pytest.TestReport]:
    about: dict[str, Any] = {"nodeid": item.nodeid, "location": item.location, "keywords": {}}
    about |= {"user_properties": item.user_properties, "start": time.time()}
    failed = pytest.TestReport(**about, outcome="failed", longrepr=said, when="setup")
    setattr(failed, STATUS, FAULT)
    yield failed
    yield pytest.TestReport(**about, outcome="passed", longrepr=None, when="teardown")


# -- in the process of a scenario


class _Sender:
    """In the recorder's place: sends what pytest says."""

    def __init__(self, config: pytest.Config, pipe: Connection[Any, Any]) -> None:
        self._config, self._pipe = config, pipe

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._pipe.send(("start", (nodeid, location)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._pipe.send(("report", data))


def _serve(session: pytest.Session, items: Sequence[pytest.Item], recorder: object, pipe: Connection[Any, Any]) -> NoReturn:
    """Runs the checks and ends this process, whatever happens; it begins with interrupts held back."""
    try:
        try:
            _become_worker(session.config, recorder, pipe)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.INTERRUPTS)
            _run(session, items)
        finally:
            _tear_down(session)
    except (KeyboardInterrupt, pytest.exit.Exception):
        pass
    except LabError as error:  # the undo of an interrupted check failed
        pipe.send(("problem", str(error)))
    except BaseException:
        pipe.send(("fault", traceback.format_exc()))
    finally:
        os._exit(0)


def _become_worker(config: pytest.Config, recorder: object, pipe: Connection[Any, Any]) -> None:
    """What was forked with this process and would be shared: the reporter, the files that output is captured in, the seed."""
    syscalls.signal_at_parents_death(signal.SIGTERM)
    random.seed()
    plugins = config.pluginmanager
    plugins.unregister(recorder)
    plugins.register(_Sender(config, pipe))
    capture: Any = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> None:
    for item, following in zip_longest(items, items[1:]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _tear_down(session: pytest.Session) -> None:
    """The fixtures of a check that was interrupted, or whose report nobody takes any more; there are none else."""
    runner: Any = session.config.pluginmanager.getplugin("runner")
    runner.pytest_sessionfinish(session)
