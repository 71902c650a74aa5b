"""One service of a living node: start, stop, restart, what state it is in and what it said.

The process is the node's init's: it goes on when the command that started it has ended, and is found again by its name.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab.errors import StepError
from lab.observe import counters
from lab.roles.spec import ServiceSpec
from lab.services import layout
from lab.services.environment import environment
from lab.services.ready import Readiness
from lab.substrate.endings import readable, session_ended
from lab.substrate.inits import Init, Running
from lab.substrate.processes import DEVNULL, in_words, popen

_LOOK_AGAIN = 0.01  # seconds; a file, a counter and a port tell nobody when they change
_STOPPED_WITHIN = 10.0
_REST_WITHIN = 1.0  # seconds for its own children, after the service itself has ended; longer ones are left alone
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Life:
    """How a service was started last: where its log and its counter stood, and whether it was told to end since."""

    log_from: int = 0
    counted: int = 0
    told_to_end: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """`pid` as the node sees it while the service runs, `status` once it has ended (negative for a signal)."""

    pid: int | None = None
    status: int | None = None
    told_to_end: bool = False

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def died(self) -> bool:
        """It ended, and nobody had told it to."""
        return self.status is not None and not self.told_to_end

    def __str__(self) -> str:
        if self.pid is not None:
            return "running"
        if self.status is None:
            return "not started"
        return f"stopped ({in_words(self.status)})" if self.told_to_end else in_words(self.status)


class Service:
    """A service of a node, by its name in the topology."""

    def __init__(self, spec: ServiceSpec, ns: Path, node_dir: Path, init: Callable[[], Init]) -> None:
        self.spec, self.name = spec, spec.name
        self._ns, self._node_dir, self._init = ns, node_dir, init
        self._record = node_dir / "services" / f"{spec.name}.json"

    def __repr__(self) -> str:
        return f"<Service {self.spec}: {self.state()}>"

    @property
    def log_path(self) -> Path:
        """Its standard output and error, of every time it was started."""
        return layout.log_of(self._node_dir, self.name)

    @property
    def log(self) -> str:
        return self._log_from(0)

    def _log_from(self, offset: int) -> str:
        try:
            return self.log_path.read_bytes()[offset:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_lines(self) -> str:
        """The end of what it said since it was started last, indented."""
        lines = self._log_from(self._life().log_from).splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:]) or "    (it wrote nothing)"

    def state(self) -> State:
        found = self._found()
        if isinstance(found, Running):
            with found:
                return State(pid=found.ns_pid)
        return State(status=found, told_to_end=self._life().told_to_end)

    def start(self) -> None:
        """Writes its files and starts it; does not wait for it. Raises StepError, also where it runs already."""
        folder, spec = layout.folder_of(self._node_dir, self.spec), self.spec
        init = self._init()
        self._write_files(folder)
        self.log_path.parent.mkdir(exist_ok=True)
        with self.log_path.open("ab") as log:
            if not isinstance(self._found(), Running):
                self._note(Life(log.tell(), self._counter()))
            try:
                popen(
                    init,
                    spec.argv,
                    stdin=DEVNULL,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                    env=environment(spec),
                    cwd=spec.folder,
                    keep=True,
                    name=self.name,
                ).close()
            except FileExistsError as error:
                raise StepError(self.describe(), spec.node, why="it runs already: stop it first, or restart it") from error
            except OSError as error:
                raise StepError(self.describe(), spec.node, error.errno or 0, why=str(error.filename or "")) from error

    def stop(self, timeout: float = _STOPPED_WITHIN) -> int | None:
        """SIGTERM, and SIGKILL for what still lives after `timeout` seconds; the exit status, None where it never ran."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int | None:
        """SIGKILL to its whole session; the exit status."""
        return self._end(signal.SIGKILL, 0.0)

    def restart(self) -> None:
        """Ends it, starts it anew and waits until it is ready. Raises StepError."""
        self.stop()
        self.start()
        self.wait_ready()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Until it is ready; `timeout` in seconds, else its own. Raises StepError with its last lines."""
        deadline = time.monotonic() + (self.spec.timeout if timeout is None else timeout)
        with self.readiness() as readiness:
            while not self.looks_ready(readiness, deadline):
                pass

    def readiness(self) -> Readiness:
        life = self._life()
        return Readiness(self.spec, self._ns, self._node_dir, self._init(), life.log_from, life.counted)

    def looks_ready(self, readiness: Readiness, deadline: float, patience: float = _LOOK_AGAIN) -> bool:
        """One look, which waits for `patience` seconds at most; raises StepError once it has ended or `deadline` is over."""
        found = self._found()
        if not isinstance(found, Running):
            raise self._failed(_end_in_words(found))
        with found:
            seen = readiness.look()
            if seen.holds and found.poll() is None:
                return True
            if time.monotonic() >= deadline:
                raise self._failed(f"it was not ready in time: {seen.what}")
            readable(found.fileno(), min(deadline, time.monotonic() + patience))
        return False

    def describe(self) -> str:
        return f"start {self.name}"

    def _failed(self, why: str) -> StepError:
        return StepError(self.describe(), self.spec.node, why=f"{why}\n    its last lines:\n{self.last_lines()}")

    def _found(self) -> Running | int | None:
        """None also where the node has no init any more: then its processes have ended with it."""
        init = Init.attach(self._node_dir)
        if init is not None:
            return init.find(self.name)
        return -signal.SIGKILL if self._record.exists() else None

    def _end(self, number: int, patience: float) -> int | None:
        found = self._found()
        if not isinstance(found, Running):
            return found
        self._note(replace(self._life(), told_to_end=True))
        with found:
            session = found.pid()
            if number != signal.SIGKILL:
                found.signal(number)
            if number == signal.SIGKILL or not readable(found.fileno(), time.monotonic() + patience):
                found.kill()
            status = found.wait(_STOPPED_WITHIN)
        if session > 0:  # a child that lives a moment longer still holds what the next start wants: ports, locks
            session_ended(session, time.monotonic() + _REST_WITHIN)
        return status

    def _write_files(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        layout.give_to(self.spec, folder)
        for name, text in self.spec.files.items():
            (folder / name).write_text(text)
            layout.give_to(self.spec, folder / name)
        if self.spec.ready.file is not None:  # of its last life; one that lies among the host's files is not ours
            stale = layout.seen_at(self._node_dir, self.spec, self.spec.ready.file)
            if stale.is_relative_to(self._node_dir):
                stale.unlink(missing_ok=True)

    def _counter(self) -> int:
        name = self.spec.ready.counter
        return counters.read(self._ns).get(name, 0) if name else 0

    def _life(self) -> Life:
        try:
            return Life(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            return Life()

    def _note(self, life: Life) -> None:
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(asdict(life)))
        draft.replace(self._record)


def _end_in_words(status: int | None) -> str:
    """Of a service that was started, and should run."""
    if status == 0:
        return "it ended with status 0 before it was ready: a service stays in the foreground, has it left it?"
    if status is None:
        return "it was never started"
    return f"it {'was ' if status < 0 else ''}{in_words(status)} before it was ready"
