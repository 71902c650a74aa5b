"""Sends checks to a guest and brings their results back: one boot for all of them."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.dispatch import choose, features, guests
from lab.dispatch.sorter import Sent
from lab.errors import HostError, LabError
from lab.kernels import Kernel
from lab.report import part, results
from lab.report.results import Check, Outcome, Run

_ENDINGS = (results.INTERRUPTED, results.TERMINATED)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the run in the guest is told beside the names of its checks."""

    sets: Mapping[str, object]
    slow: bool
    jobs: int
    recorded: bool
    format: str
    verbosity: int
    left: bool
    """Whether labs of failed checks were to be left up, which no guest does."""


def send(sent: Sequence[Sent], wishes: Wishes, show: Callable[[Check], None]) -> Run:
    """The results of all of them. Says on stderr where they go; `show` is given the checks that no guest prints itself."""
    began = time.time()
    needs = {each.target: each.needs for each in sent}
    kernel, served, troubles = choose.best(needs, choose.candidates(), features.of)
    stay = [_skipped(each, kernel, troubles, began) for each in sent if each.target not in served]
    for check in stay:
        show(check)
    go = [each for each in sent if each.target in served]
    if kernel is None or not go:
        return Run(tuple(stay), began, time.time() - began)
    if wishes.verbosity >= 0:
        print(_words(go, kernel, wishes), file=sys.stderr, flush=True)
    run = _run(go, kernel, wishes)
    for check in run.checks:
        if check.kernel == "":
            show(check)
    checks = (*stay, *(dataclasses.replace(check, kernel=kernel.release) for check in run.checks))
    return dataclasses.replace(run, checks=checks, started=began, seconds=time.time() - began)


def merged(run: Run, more: Run) -> Run:
    """One run of both: what was made here first."""
    return dataclasses.replace(
        run,
        checks=(*run.checks, *more.checks),
        seconds=run.seconds + more.seconds,
        problems=(*run.problems, *more.problems),
        ending=run.ending or more.ending,
        about={**run.about, **more.about},
    )


def _words(sent: Sequence[Sent], kernel: Kernel, wishes: Wishes) -> str:
    lacks = ", ".join(sorted({lack.replace("_", " ") for each in sent for lack in each.lacks}))
    what = "1 check needs" if len(sent) == 1 else f"{len(sent)} checks need"
    left = "; no lab is left up there" if wishes.left else ""
    return f"lab: {what} {lacks}, which this kernel lacks: in a guest with {kernel.release}{left}"


def _skipped(sent: Sent, kernel: Kernel | None, troubles: Sequence[str], now: float) -> Check:
    lacks = " and no ".join(sorted(lack.replace("_", " ") for lack in sent.lacks))
    others = "no fetched kernel has it either: lab kernels lists what there is" if not troubles else "; ".join(troubles)
    said = f"this kernel has no {lacks}, and {others}"
    return Check(sent.scenario, sent.name, sent.title, Outcome.SKIPPED, 0.0, message=said, started=now)


def _run(sent: Sequence[Sent], kernel: Kernel, wishes: Wishes) -> Run:
    """What became of them; where the guest ended early that is said of each that has no result."""
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        file = Path(folder, "part.json")
        try:
            status = guests.run(kernel, arguments([each.target for each in sent], wishes, file), [file])
            run = part.loads(file.read_text())
        except (part.PartError, FileNotFoundError):
            if status in _ENDINGS:
                return Run((), began, time.time() - began, ending=status)
            run, why = _nothing(began), f"lab ended in the guest with status {status} and without results"
        except LabError as error:
            run, why = _nothing(began), str(error)
        else:
            why = f"lab ended in the guest with status {status} before it was made"
            run = dataclasses.replace(
                run, checks=tuple(dataclasses.replace(each, kernel=kernel.release) for each in run.checks)
            )
    return run if run.ending in _ENDINGS else _completed(run, sent, why)


def _nothing(began: float) -> Run:
    return Run((), began, 0.0)


def _completed(run: Run, sent: Iterable[Sent], why: str) -> Run:
    made = {(check.scenario, check.name) for check in run.checks}
    missing = [
        Check(each.scenario, each.name, each.title, Outcome.ERROR, 0.0, HostError.exit_status, why, started=run.started)
        for each in sent
        if (each.scenario, each.name) not in made
    ]
    return dataclasses.replace(run, checks=(*run.checks, *missing))


def arguments(targets: Sequence[str], wishes: Wishes, file: Path) -> list[str]:
    """The words of the command in the guest."""
    words = ["--format", wishes.format, "run", "--part", str(file), "--jobs", str(wishes.jobs)]
    words += ["--record"] if wishes.recorded else []
    words += ["--slow"] if wishes.slow else []
    words += ["--quiet"] if wishes.verbosity < 0 else ["--verbose"] if wishes.verbosity > 0 else []
    words += [word for name, value in wishes.sets.items() for word in ("--set", f"{name}={value}")]
    return [*words, "--", *targets]
