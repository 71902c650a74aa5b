"""`lab run`: scenarios by pytest, in this process, with our own configuration and our own report; the exit status.

Nothing of the user's changes a run: no pytest.ini, no PYTEST_… variable, no other plugin, no cache. A test file that the user
names brings the conftest.py beside it along; a shipped scenario has none. What pytest says of a test becomes a
`lab.report.results.Check`; how that is shown is the report's matter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from lab import scenarios as catalogue
from lab.errors import LabError, TopologyError
from lab.report import progress, results
from lab.report.results import Check, Outcome, Run

if TYPE_CHECKING:
    import pytest

    from lab.dispatch.send import Wishes
    from lab.dispatch.sorter import Sorter
    from lab.report.terminal import Terminal
    from lab.workers import Workers

_CONFIGURATION = ("-c", str(catalogue.FOLDER / "pytest.ini"), "--rootdir", str(catalogue.FOLDER))
_PLUGINS = ("-p", "lab.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:terminal")
_ONE_WISH = 1.0  # seconds: timeout(1), and who passes a signal on, send it to a process and once more to its group
_SLOW = "slow"  # the marker, declared in pytest.ini
_USAGE_ERROR, _INTERNAL_ERROR = 4, 3  # pytest.ExitCode


class _Terminated(KeyboardInterrupt):
    """SIGTERM came. pytest undoes its fixtures for a KeyboardInterrupt, and for nothing else."""


def run(
    names: Sequence[str] = (),
    *,
    sets: Mapping[str, object] | None = None,
    junit: Path | None = None,
    report: Path | None = None,
    json: Path | None = None,
    keep_on_failure: bool = False,
    fail_on_skip: bool = False,
    slow: bool = False,
    jobs: int = 1,
    elsewhere: bool = False,
    why_here: str = "",
    part: Path | None = None,
    record: bool = False,
    format: str = "table",
    verbosity: int = 0,
) -> int:
    """Runs scenarios; the exit status of `lab run` (see `lab.report.results.Run.status`).

    `names`: shipped scenarios, test files or folders, each with `::check` behind it for one check alone; none means all that
    are shipped. `sets` overrides what the scenarios' markers say. `junit` and `json` are files to write, `report` a folder for
    both and a page. `slow` also runs the checks that are marked so. `jobs` scenarios run at a time, each in a process of its
    own. `elsewhere`: checks whose features this kernel lacks are made in a guest; without, `why_here` is said of those that are
    skipped. `part`: this run is one in a guest, whose results go to that file as a part of another's, and whose verdict is
    that one's; with `record` all that a page shows is kept in it. `format` table or json is what goes to stdout; with json
    the progress goes to stderr. Raises TopologyError where a name is unknown.
    """
    for path in (junit, json):
        _writable(path)
    if report:
        _makes_folder(report)
    arguments = [*_arguments(targets(names)), *(f"--lab-set={name}={value}" for name, value in (sets or {}).items())]
    arguments += ["--lab-keep-on-failure"] if keep_on_failure else []
    in_report = report / "junit.xml" if report else None
    if written := in_report or junit:
        arguments.append(f"--junitxml={written.absolute()}")
    arguments += ["--lab-record"] if report or record else []
    recorder = _Recorder(_terminal(format, verbosity), slow, why_here)
    sorter = _sorter() if elsewhere else None
    with _interrupts_on_sigterm(), progress.line(sys.stderr, recorder.doing, verbosity >= 0) as line:
        recorder.terminal.aside = line.aside
        plugins = [recorder, *([_workers(jobs, recorder, line)] if jobs > 1 else []), *([sorter] if sorter else [])]
        done = _run(arguments, recorder, plugins, fail_on_skip)
    if part:
        return _part(done, part)
    if sorter:
        wishes = _wishes(sets or {}, slow, jobs, bool(report), format, verbosity, keep_on_failure)
        done = _sent(done, sorter, wishes, recorder.terminal, written)
    if in_report and junit:
        shutil.copyfile(in_report, junit)
    _tell(done, recorder.terminal, json, sys.stdout if format == "json" else None, report)
    return done.status


def scenarios() -> list[catalogue.Scenario]:
    """The shipped scenarios, read without importing them or pytest."""
    return list(catalogue.shipped().values())


def _sorter() -> Sorter:
    from lab.dispatch.sorter import Sorter

    return Sorter()


def _wishes(*fields: Any) -> Wishes:
    from lab.dispatch.send import Wishes

    return Wishes(*fields)


def _sent(done: Run, sorter: Sorter, wishes: Wishes, terminal: Terminal, junit: Path | None) -> Run:
    """The run with the checks that were made in a guest."""
    from lab.dispatch import send

    if not sorter.sent or done.ending in (results.INTERRUPTED, results.TERMINATED):
        return done
    sets = {name: value for name, value in wishes.sets.items() if name in sorter.params}
    more = send.send(sorter.sent, dataclasses.replace(wishes, sets=sets), terminal.check)
    if junit:
        from lab.report import junit as suites

        suites.add(junit, "lab in a guest", more.checks)
    return send.merged(done, more)


def _part(run: Run, file: Path) -> int:
    """Leaves to the run that this one is a part of to say what it came to."""
    from lab.report import part

    file.write_text(part.dumps(run))
    return run.status


def _terminal(format: str, verbosity: int) -> Terminal:
    from lab.report.terminal import Terminal

    return Terminal(sys.stderr if format == "json" else sys.stdout, verbosity)


def _writable(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise TopologyError(f"{path} cannot be written: it is a directory, or lies in none", "name a file in one that exists")


def targets(names: Sequence[str]) -> list[str]:
    """What pytest calls them. Raises TopologyError where one is unknown."""
    shipped = catalogue.paths()
    return [_target(name, shipped) for name in names] or [str(path) for path in shipped.values()]


def _target(name: str, shipped: Mapping[str, Path]) -> str:
    base, colons, check = name.partition("::")
    if base in shipped:
        return f"{shipped[base]}{colons}{check}"
    if Path(base).exists():
        return f"{Path(base).absolute()}{colons}{check}"
    from lab.topology.words import did_you_mean

    hint = did_you_mean(base, shipped, "shipped are: ")
    raise TopologyError(f"there is no scenario {base!r}", hint or "a test file is named by its path, such as ./test_mine.py")


def _arguments(targets: Sequence[str]) -> list[str]:
    theirs = any(catalogue.FOLDER not in Path(target.partition("::")[0]).parents for target in targets)
    return [*_CONFIGURATION, *_PLUGINS, *(() if theirs else ("--noconftest",)), *targets]


def _workers(jobs: int, recorder: _Recorder, line: progress.Line) -> Workers:
    from lab.workers import Workers

    return Workers(jobs, recorder, line.halted, recorder.heard)


def _run(arguments: Sequence[str], recorder: _Recorder, plugins: Sequence[object], fail_on_skip: bool) -> Run:
    started, began = time.time(), time.monotonic()
    try:
        recorder.ended(_pytest(arguments, plugins))
    except KeyboardInterrupt as interrupt:
        recorder.interrupted(interrupt)
    except LabError as error:  # the undo of an interrupted check failed
        recorder.problems.append(str(error))
    seconds = time.monotonic() - began
    problems, about = tuple(recorder.problems), dict(recorder.about)
    virtual = bool(os.environ.get("LAB_VIRTUAL_TIME"))
    ending, left_out = recorder.ending, recorder.left_out
    return Run(tuple(recorder.checks), started, seconds, problems, ending, fail_on_skip, left_out, about, virtual)


def _pytest(arguments: Sequence[str], plugins: Sequence[object]) -> int:
    with _environment():
        import pytest

        return int(pytest.main([*arguments], plugins=plugins))


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Without the variables that change pytest, and without the plugins that happen to be installed beside it."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTEST_")}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(before)


@contextlib.contextmanager
def _interrupts_on_sigterm() -> Iterator[None]:
    heard = -_ONE_WISH

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        now = time.monotonic()
        if now - heard >= _ONE_WISH:
            heard = now
            raise _Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _makes_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TopologyError(f"{path} cannot be made: {error.strerror}", "name a directory, or one to be made") from error


def _tell(run: Run, terminal: Terminal, file: Path | None, stdout: TextIO | None, report: Path | None) -> None:
    terminal.end(run)
    files = [each for each in (file, report / "run.json" if report else None) if each]
    if files or stdout:
        from lab.report import envelope

        text = envelope.render(run)
        for each in files:
            each.write_text(text)
        if stdout:
            stdout.write(text)
    if report:
        from lab.report import page

        page.write(run, report / "index.html")
        terminal.note(f"report: {report / 'index.html'}")


class _Recorder:
    """A pytest plugin in the place of pytest's terminal reporter: the checks, as they are decided."""

    def __init__(self, terminal: Terminal, slow: bool, why_here: str = "") -> None:
        self.terminal, self._slow, self._why_here = terminal, slow, why_here
        self.left_out = 0
        self.checks: list[Check] = []
        self.problems: list[str] = []
        self.ending = results.HELD
        self.about: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._doing = "collecting the checks"
        self._phases: list[pytest.TestReport] = []

    def doing(self) -> str:
        """What goes on, in words."""
        from lab.observe import conditions

        awaited = conditions.pending()
        return f"{self._doing}; waiting until {awaited[0]}" if awaited else self._doing

    def ended(self, code: int) -> None:
        """What pytest's own exit status says beyond the checks."""
        if code in (_USAGE_ERROR, _INTERNAL_ERROR) and not self.ending:
            self.ending = results.WRONG_CALL if code == _USAGE_ERROR else results.FAULT

    def heard(self, problem: str, status: int) -> None:
        """A problem that is no check's; `status` is what it asks for, 0 for that of every problem."""
        self.problems.append(problem)
        self.ending = self.ending or status

    def interrupted(self, how: BaseException) -> None:
        """pytest also raises kinds of KeyboardInterrupt of its own, where it could not collect everything."""
        if type(how) in (KeyboardInterrupt, _Terminated):
            self.ending = results.TERMINATED if isinstance(how, _Terminated) else results.INTERRUPTED

    def pytest_configure(self, config: pytest.Config) -> None:
        from lab.pytest_plugin import ELSEWHERE

        config.option.tbstyle = "short"  # an option of the reporter that is not there
        config.stash[ELSEWHERE] = self._why_here

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        """Before it is imported."""
        if module_path.parent == catalogue.FOLDER and b"\nfrom scapy." in module_path.read_bytes():
            from lab.observe import frames

            frames.without_routes()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._leave_out(config, [] if self._slow else [item for item in items if item.get_closest_marker(_SLOW)], items)
        for item in items:
            scenario = _scenario(item.path)
            title = self._titles[item.nodeid] = _title(item)
            item.user_properties += [("scenario", scenario), ("title", title)]
            self.about[scenario] = catalogue.title(getattr(getattr(item, "module", None), "__doc__", None))

    def _leave_out(self, config: pytest.Config, slow: list[pytest.Item], items: list[pytest.Item]) -> None:
        self.left_out = len(slow)
        items[:] = [item for item in items if item not in slow]
        if slow:
            config.hook.pytest_deselected(items=slow)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(report.longreprtext)
        elif report.skipped:
            self._decide(Check(report.nodeid, "", "the whole file", Outcome.SKIPPED, 0.0, message=_reason(report)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._doing = self._titles.get(nodeid, nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._phases.append(report)
        if report.when == "teardown":
            phases, self._phases = self._phases, []
            self._decide(_check(phases))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted(excinfo.value)

    def _decide(self, check: Check) -> None:
        self.checks.append(check)
        self.terminal.check(check, self.about.get(check.scenario, ""))


def _scenario(path: Path) -> str:
    return catalogue.name_of(path) if path.parent == catalogue.FOLDER else os.path.relpath(path)


def _title(item: Any) -> str:
    said = catalogue.title(getattr(getattr(item, "obj", None), "__doc__", None)) or item.name
    return f"{said} [{item.callspec.id}]" if hasattr(item, "callspec") else said


def _check(phases: Sequence[pytest.TestReport]) -> Check:
    """One test from the reports of its set-up, call and teardown; what could not be made outweighs what does not hold."""
    from lab.pytest_plugin import RECORDED, SECTION, STATUS, tables_of

    properties = dict(phases[0].user_properties)
    failed = [report for report in phases if report.failed]
    skipped = [report for report in phases if report.skipped and not hasattr(report, "wasxfail")]
    does_not_hold = all(report.when == "call" and getattr(report, STATUS, 1) == 1 for report in failed)
    outcome = Outcome.SKIPPED if skipped else Outcome.HELD
    if failed:
        outcome = Outcome.FAILED if does_not_hold else Outcome.ERROR
    return Check(
        scenario=str(properties["scenario"]),
        name=phases[0].nodeid.partition("::")[2],
        title=str(properties["title"]),
        outcome=outcome,
        seconds=sum(report.duration for report in phases),
        status=max((getattr(report, STATUS, 1) for report in failed), default=0),
        message="\n".join(map(_reason, [*failed, *skipped])),
        detail="\n".join(report.longreprtext for report in failed),
        evidence={title.removeprefix(SECTION): text for report in failed for title, text in report.sections},
        tables=tables_of(phases[-1]),
        started=phases[0].start,
        recorded=next((getattr(report, RECORDED) for report in phases if hasattr(report, RECORDED)), results.Recorded()),
    )


def _reason(report: Any) -> str:
    """The message of what was raised, without where."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", None) or report.longreprtext)
