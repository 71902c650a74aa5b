"""Whether a service that was started is ready: all that its `ready:` says, looked at once, without waiting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lab.observe import counters
from lab.observe.conditions import Listening, Seen
from lab.roles.spec import ServiceSpec
from lab.services import layout
from lab.services.environment import environment
from lab.substrate import namespaces
from lab.substrate.inits import Init
from lab.substrate.processes import DEVNULL, Process, popen


class Readiness:
    """`log_from` is where in the log the service's present life begins, `counted` what its counter stood at then."""

    def __init__(self, spec: ServiceSpec, ns: Path, node_dir: Path, init: Init, log_from: int, counted: int) -> None:
        self._spec, self._ns, self._node_dir, self._init = spec, ns, node_dir, init
        self._log_from, self._counted = log_from, counted
        self._asking: Process | None = None
        self._answered = False

    def __enter__(self) -> Readiness:
        return self

    def __exit__(self, *_: object) -> None:
        if self._asking:
            self._asking.close()

    def look(self) -> Seen:
        """What is still missing, or that nothing is."""
        missing = [seen.what for seen in self._looks() if not seen.holds]
        return Seen(not missing, "; ".join(missing) or "it is ready")

    def _looks(self) -> Iterator[Seen]:
        ready = self._spec.ready
        for port in ready.listen:
            protocol, _, number = port.partition("/")
            yield namespaces.inside(self._ns, Listening(int(number), udp=protocol == "udp").look)
        if ready.file is not None:
            yield Seen(layout.seen_at(self._node_dir, self._spec, ready.file).exists(), f"there is no file {ready.file}")
        if ready.line is not None:
            yield Seen(self._said(ready.line), f"no line of its output matches {ready.line!r}")
        if ready.counter is not None:
            now = counters.read(self._ns).get(ready.counter, 0)
            yield Seen(now > self._counted, f"{ready.counter} has not moved: it is {now}")
        if ready.answer:
            yield Seen(self._answers(), f"{ready.answer[0]} has not ended with status 0")

    def _said(self, pattern: str) -> bool:
        with layout.log_of(self._node_dir, self._spec.name).open("rb") as log:
            log.seek(self._log_from)
            return re.search(pattern, log.read().decode(errors="replace"), re.MULTILINE) is not None

    def _answers(self) -> bool:
        """Asks, and looks at the answer the next time: nobody waits for a command that may hang."""
        if self._asking is not None and (status := self._asking.poll()) is not None:
            self._asking.close()
            self._asking, self._answered = None, status == 0
        if self._asking is None and not self._answered:
            argv, env = self._spec.ready.answer, environment(self._spec)
            self._asking = popen(self._init, argv, stdout=DEVNULL, stderr=DEVNULL, env=env, cwd=self._spec.folder)
        return self._answered
