"""What was done on the nodes while somebody keeps a journal of it: which node ran which command when, and how it came out.

The seam is one line where something is done (`with journal.step(node, "run", what)`); where nobody keeps a journal it costs
a look at an empty list.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MOST = 500
"""Steps that a journal keeps; those behind them are counted."""
_LONGEST = 500  # characters of a step's words


@dataclass(slots=True)
class Step:
    """One thing done. `time` in seconds since the epoch, `seconds` how long it took, None while it goes on; `outcome` in words,
    empty where all went well."""

    node: str
    kind: str
    what: str
    time: float
    seconds: float | None = None
    outcome: str = ""

    def __str__(self) -> str:
        took = "" if self.seconds is None else f"  {self.seconds * 1000:.0f} ms"
        return f"{self.node}: {self.kind} {self.what}{f'  ({self.outcome})' if self.outcome else ''}{took}"


@dataclass(slots=True)
class Journal:
    """Steps in the order in which they began; `left` counts those that there was no room for."""

    steps: list[Step] = field(default_factory=list)
    left: int = 0

    def take(self, step: Step) -> None:
        if len(self.steps) < MOST:
            self.steps.append(step)
        else:
            self.left += 1

    def lines(self) -> str:
        """A line a step, with the milliseconds since the first one."""
        said = [f"{(step.time - self.steps[0].time) * 1000:8.0f} ms  {step}" for step in self.steps]
        return "\n".join([*said, *([f"… and {self.left} more"] if self.left else [])])


_kept: list[Journal] = []
_lock = threading.Lock()


@contextlib.contextmanager
def keeping() -> Iterator[Journal]:
    """A journal of what is done in the block, whichever thread does it."""
    journal = Journal()
    with _lock:
        _kept.append(journal)
    try:
        yield journal
    finally:
        with _lock:
            _kept.remove(journal)


@contextlib.contextmanager
def step(node: str, kind: str, what: object) -> Iterator[Step | None]:
    """Something that is done in the block; an exception is how it came out. `what` is an argv, or anything with words."""
    if not _kept:
        yield None
        return
    made = Step(node, kind, _words(what)[:_LONGEST], time.time())
    began = time.monotonic()
    with _lock:
        for journal in _kept:
            journal.take(made)
    try:
        yield made
    except BaseException as error:
        made.outcome = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST]
        raise
    finally:
        made.seconds = time.monotonic() - began


def _words(what: object) -> str:
    if isinstance(what, Sequence) and not isinstance(what, str):
        return shlex.join(os.fspath(each) for each in what)
    return str(what)
