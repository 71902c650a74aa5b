"""pytest over living labs: the fixture `lab`, its marker, and the evidence in the report of a test that failed.

    @pytest.mark.lab("rp-filter", first="b")           # a shipped topology, or a file: a path from the test file's folder
    def test_the_other_interface_answers(lab): ...

Every test gets a lab of its own, under a name of its own. Where the kernel lacks what the topology needs, or privilege is
missing, the test is skipped with the reason; what a lab leaves behind is an error. pytest loads this module at the start of
every run of every project that it is installed beside: nothing of lab is imported until a test asks for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from lab.live import Lab
    from lab.observe.evidence import Watch
    from lab.observe.explain import watch as explaining
    from lab.observe.journal import Journal
    from lab.observe.kmsg import Log
    from lab.observe.wire import Wire
    from lab.recipe import Recipe
    from lab.report.results import Table
    from lab.substrate.drops import Drops

SECTION = "lab: "
"""What the titles of our sections in a test's report begin with."""
STATUS = "lab_status"
"""The attribute of a failed test's report that says which exit status the failure asks for."""
FAULT = 70
"""The exit status that a fault of ours asks for."""
RECORDED = "lab_recorded"
"""The attribute of a test's report that has what `--lab-record` asks to be kept: a `lab.report.results.Recorded`."""
LACKS = "lab-lacks"
"""The property of a test in JUnit that was skipped for want of a kernel feature; its value is how `lab run` names the test."""
ELSEWHERE = pytest.StashKey[str]()
"""Of a configuration: why tests that lack a kernel feature are skipped here rather than made on another kernel."""
_WRONG = "lab_wrong_call"
_ENDS_WITHIN = 10.0  # seconds from the end of a worker's last descriptor to that of the process
_TABLE = "table: "
"""What the names of our tables begin with among a test's user properties, of which JUnit has the text."""
_SKIPPED = "lab_skipped"
"""The attribute of a skipped test's report that says why it got no lab, in a line."""
_TABLES = "lab_tables"
"""The attribute of a test's report that has its tables as plain data: [title, columns, rows]. A worker of pytest-xdist sends
reports in a format that knows nothing else."""


@dataclass(slots=True)
class _Open:
    """The lab of a test that runs."""

    lab: Lab
    watch: Watch
    recipe: Recipe
    journal: Journal
    explained: explaining.Explainer
    failed: bool = False


_OPEN = pytest.StashKey[_Open]()
_WHY_SKIPPED = pytest.StashKey[str]()
_MEASURED = pytest.StashKey[dict[str, "Table"]]()
"""Of a test: its tables by their titles."""
_FAULT_OF_OURS = pytest.StashKey[Exception]()
_DROPS: pytest.StashKey[tuple[Drops | None, str]] = pytest.StashKey()
"""What traces drops for all tests of the run, or why that cannot be."""
_RECIPES = pytest.StashKey[dict[tuple[str, str], "Recipe"]]()
_DECLARED = pytest.StashKey[dict[str, Mapping[str, object]]]()
_WARM = pytest.StashKey[contextlib.ExitStack]()
"""What all labs of the run have in common, until its end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "labs of network namespaces")
    group.addoption(
        "--lab-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a parameter of the tests' topologies, whatever their markers say; may be given often",
    )
    group.addoption(
        "--lab-keep-on-failure",
        action="store_true",
        help="leave the lab of a failed test up, and say how to get in",
    )
    group.addoption(
        "--lab-record",
        action="store_true",
        help="keep what a report shows of every test: what was done on the nodes, frames of captures, a picture",
    )


def pytest_configure(config: pytest.Config) -> None:
    line = "lab(topology, **params): the topology that the fixture `lab` brings up: a shipped name, or a path from this folder"
    config.addinivalue_line("markers", line)
    config.addinivalue_line("markers", "needs(*features): features of the kernel that the test needs beside its topology's")
    config.stash[_RECIPES], config.stash[_DECLARED] = {}, {}
    _sets(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    drops, _ = config.stash.get(_DROPS, (None, ""))
    if drops is not None:
        drops.close()
    if (warm := config.stash.get(_WARM, None)) is not None:
        warm.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """A parameter that no selected test's topology has was mistyped. A worker of pytest-xdist tells the process that started
    it, which would take an error raised here for a crash, and has nothing to run."""
    wrong = _unknown_sets(session)
    if wrong and (output := getattr(session.config, "workeroutput", None)) is not None:
        output[_WRONG] = wrong
        session.items.clear()
    elif wrong:
        raise pytest.UsageError(wrong)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What pytest-xdist calls when a worker has ended: the lab of one that was killed is nobody's any more."""
    if wrong := getattr(node, "workeroutput", {}).get(_WRONG):
        raise pytest.UsageError(wrong)
    if error and os.geteuid() == 0:
        _prune_after(getattr(node, "workerinfo", {}).get("pid"))


def _prune_after(pid: int | None) -> None:
    """Once the process has ended and let go of its lab. What cannot be removed is left to `lab prune`, which says why."""
    from lab import undo
    from lab.errors import LabError

    with contextlib.suppress(LabError, OSError):
        if pid:
            _until_ended(pid)
        undo.prune()


def _until_ended(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            select.select([pidfd], [], [], _ENDS_WITHIN)
        finally:
            os.close(pidfd)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Why tests got no lab, which pytest itself says with -rs only: else a run that checked nothing looks well."""
    reports = terminalreporter.stats.get("skipped", ())
    for why, count in Counter(getattr(report, _SKIPPED) for report in reports if hasattr(report, _SKIPPED)).items():
        terminalreporter.write_line(f"lab: {count} skipped: {why}", yellow=True)


def _unknown_sets(session: pytest.Session) -> str:
    """In words; empty where there are none."""
    if not (sets := _sets(session.config)):
        return ""
    known = {name for item in session.items for name in _known_params(item)}
    unknown = [name for name in sets if name not in known]
    said = f"they have {', '.join(sorted(known))}" if known else "they have none"
    return f"no selected test's topology has a parameter {', '.join(map(repr, unknown))}: {said}" if unknown else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test where the kernel lacks what its marker `needs` names."""
    if (marked := _marked_needs(item)) and os.geteuid() == 0:
        from lab.substrate import features

        if lacking := features.missing(marked):
            said = f"this kernel has no {' and no '.join(sorted(each.replace('_', ' ') for each in lacking))}"
            _skip_for_features(item, said)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the evidence while the lab is still up, and the exit status that the failure asks of `lab run`."""
    report = yield
    opened = item.stash.get(_OPEN, None)
    if measured := item.stash.get(_MEASURED, {}):
        setattr(report, _TABLES, [[title, list(each.columns), list(map(list, each.rows))] for title, each in measured.items()])
    if opened is not None and report.when == "call" and _recording(item.config):
        from lab.report import recording

        setattr(report, RECORDED, recording.recorded(opened.lab, opened.recipe.topology, opened.journal, report.failed))
    if report.skipped and _WHY_SKIPPED in item.stash:
        setattr(report, _SKIPPED, item.stash[_WHY_SKIPPED].partition("\n")[0])
    if report.failed and call.excinfo is not None:
        setattr(report, STATUS, _status(item, call.excinfo.value))
        if opened is not None:
            opened.failed = True
            report.sections += [(SECTION + title, text) for title, text in _evidence(item.config, opened).items()]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A test that ends well fails if a service of its lab died under it."""
    yield
    opened = item.stash.get(_OPEN, None)
    if opened is not None and (dead := _dead_services(opened.lab)):
        pytest.fail(dead, pytrace=False)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab that this test's `@pytest.mark.lab(topology, **params)` describes, up for this test alone."""
    from lab.observe import journal
    from lab.observe.evidence import Watch

    item = request.node
    recipe = _recipe(item)
    with Watch() as watch, journal.keeping() as kept:
        with _our_matter(item):
            up = _up(item, recipe, request.config.getoption("lab_keep_on_failure"))
        explained = _explaining(request.config, up)
        opened = item.stash[_OPEN] = _Open(up, watch, recipe, kept, explained)
        try:
            with explained:
                yield up
        finally:
            del item.stash[_OPEN]
            if not (opened.failed and request.config.getoption("lab_keep_on_failure")):
                with _our_matter(item):
                    _down(up)


@pytest.fixture
def kernel_log() -> Iterator[Log]:
    """The kernel's log from the start of this test on; skips the test where the log cannot be read."""
    from lab.errors import HostError
    from lab.observe.kmsg import Log

    try:
        log = Log()
    except HostError as error:
        pytest.skip(str(error))
    with log:
        yield log


@pytest.fixture
def report_table(request: pytest.FixtureRequest) -> Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]:
    """`report_table(title, columns, rows)` makes a table part of what is reported of this test, whether or not it holds."""
    from lab.report.results import Table

    def add(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        table = request.node.stash.setdefault(_MEASURED, {})[title] = Table.of(columns, rows)
        request.node.user_properties.append((_TABLE + title, str(table)))

    return add


def tables_of(report: pytest.TestReport) -> dict[str, Table]:
    """By their titles, those that `report_table` added until this phase of the test."""
    from lab.report.results import Table

    return {title: Table.of(columns, rows) for title, columns, rows in getattr(report, _TABLES, ())}


def _sets(config: pytest.Config) -> dict[str, str]:
    found = {}
    for text in config.getoption("lab_set"):
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise pytest.UsageError(f"--lab-set {text!r} is not KEY=VALUE")
        found[key] = value
    return found


def _wish(item: pytest.Item) -> tuple[str, dict[str, Any]]:
    """Topology and parameters as the marker has them."""
    from lab.errors import TopologyError

    marker = item.get_closest_marker("lab")
    if marker is None or len(marker.args) != 1:
        hint = "write @pytest.mark.lab(topology, parameter=value, …) above it"
        raise TopologyError(f"{item.name} does not say which topology its lab has", hint)
    return str(marker.args[0]), dict(marker.kwargs)


def _topology(item: pytest.Item, name: str) -> str | Path:
    from lab.topology.shipped import shipped_topologies

    if "/" in name or name.endswith((".yaml", ".yml")):
        return item.path.parent / name
    return shipped_topologies().get(name, name)


def _known_params(item: pytest.Item) -> Mapping[str, object]:
    """Those of the topology's file; none where that cannot be read, which is then said when the test runs. Each file is read
    once in a run."""
    from lab import recipe
    from lab.errors import TopologyError

    if item.get_closest_marker("lab") is None:
        return {}
    declared = item.config.stash[_DECLARED]
    with contextlib.suppress(TopologyError):
        source = _topology(item, _wish(item)[0])
        if str(source) not in declared:
            declared[str(source)] = recipe.declared(source)
        return declared[str(source)]
    return {}


def _recipe(item: pytest.Item) -> Recipe:
    """Read once for all tests of the run that have the same file and parameters."""
    from lab import recipe

    name, params = _wish(item)
    source, known = _topology(item, name), _known_params(item)
    params |= {key: value for key, value in _sets(item.config).items() if key in known}
    cache, key = item.config.stash[_RECIPES], (str(source), repr({**known, **params}))
    _keep_warm(item.config)
    if key not in cache:
        cache[key] = recipe.read(source, params)
    return cache[key]


def _keep_warm(config: pytest.Config) -> None:
    """From the first lab of the run on, until its end."""
    if _WARM not in config.stash:
        from lab import warm

        config.stash[_WARM] = undo = contextlib.ExitStack()
        undo.enter_context(warm.kept())


def needs_of(item: pytest.Item) -> frozenset[str]:
    """The kernel features that a test needs: its marker's and its topology's. Of one that cannot be read the marker's: what is
    wrong is said when the test runs. Raises pytest.UsageError for a feature that there is not."""
    from lab.errors import LabError

    found = set(_marked_needs(item))
    if "lab" in getattr(item, "fixturenames", ()):
        with contextlib.suppress(LabError):
            found |= {feature for feature, _ in _recipe(item).topology.needs()}
    return frozenset(found)


def _marked_needs(item: pytest.Item) -> frozenset[str]:
    """Another project's tests may have a marker of that name: theirs is none of ours."""
    ours = item.get_closest_marker("lab") is not None or ELSEWHERE in item.config.stash
    found = frozenset(str(name) for marker in item.iter_markers("needs") for name in marker.args if ours)
    if not found:
        return found
    from lab.substrate import features

    if unknown := {part for name in found for part in name.split(" or ")} - set(features.NAMES):
        raise pytest.UsageError(f"{item.nodeid}: there is no feature {', '.join(sorted(unknown))}")
    return found


def known_params(item: pytest.Item) -> frozenset[str]:
    """The names that `--lab-set` may give to this test."""
    return frozenset(_known_params(item))


def _skip_for_features(item: pytest.Item, why: str) -> NoReturn:
    """With what else could be done: where `lab run` does not say it, that it can. JUnit is told which check that is."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    check = f"{path}::{item.nodeid.partition('::')[2]}"
    item.user_properties.append((LACKS, check))
    own = f"lab run makes it in a guest whose kernel has it: lab run {shlex.quote(check)}"
    hint = item.config.stash.get(ELSEWHERE, own)
    _skip(item, f"{why}\n{hint}" if hint else why)


def _skip(item: pytest.Item, why: str) -> NoReturn:
    item.stash[_WHY_SKIPPED] = why
    pytest.skip(why)


def _up(item: pytest.Item, recipe: Recipe, keep: bool) -> Lab:
    """Skips where privilege or a feature is missing. One that may be kept does not end with this process."""
    from lab.errors import HostError
    from lab.host import missing_features
    from lab.live import Lab, unique_name

    try:
        return Lab.up(recipe, name=unique_name(recipe.topology.name), detach=keep)
    except HostError as error:
        said = "\n".join(dict.fromkeys(f"{each.message}: {each.hint}" for each in error.problems))
        if os.geteuid() != 0:
            _skip(item, said)
        if missing_features(recipe):
            _skip_for_features(item, said)
        raise


def _explaining(config: pytest.Config, up: Lab) -> explaining.Explainer:
    """Tracing begins with the first lab of the run, and goes on for all."""
    from lab.errors import HostError
    from lab.observe.explain import watch
    from lab.substrate import drops

    if _DROPS not in config.stash:
        try:
            config.stash[_DROPS] = drops.Drops(), ""
        except HostError as error:
            config.stash[_DROPS] = None, str(error)
    return watch.Explainer({node.name: node.ns for node in up}, *config.stash[_DROPS])


def _down(up: Lab) -> None:
    from lab.errors import TeardownError
    from lab.observe.remains import Footprint

    footprint = Footprint.of(up.directory, [node.ns for node in up])
    up.down()
    if left := footprint.remains():
        raise TeardownError(up.name, left)


@contextlib.contextmanager
def _our_matter(item: pytest.Item) -> Iterator[None]:
    """What goes wrong in this block, and is no LabError, is a fault of ours and not the test's."""
    try:
        yield
    except Exception as error:
        item.stash[_FAULT_OF_OURS] = error
        raise


def _status(item: pytest.Item, error: BaseException) -> int:
    from lab.errors import LabError

    if isinstance(error, LabError):
        return error.exit_status
    return FAULT if error is item.stash.get(_FAULT_OF_OURS, None) else 1


def _evidence(config: pytest.Config, opened: _Open) -> dict[str, str]:
    up = opened.lab
    record = up.record
    facts = {"name": up.name, "topology": record.source, "parameters": _pairs(record.params)}
    sections = opened.watch.collect({node.name: node.ns for node in up}, facts, lambda: up.rendered)
    if dropped := _dropped(opened.explained):
        sections["packets that the kernel dropped"] = dropped
    if services := _services(up):
        sections["services"] = services
    if steps := opened.journal.lines():
        sections["what was done"] = steps
    for wire in up.captures:
        sections[_captured_at(wire)] = str(wire)
    if config.getoption("lab_keep_on_failure"):
        node = next(iter(up.nodes))
        sections["kept"] = "\n".join(
            (
                f"lab shell {up.name} {node}",
                f"lab exec {up.name} {node} -- ip address",
                f"lab down {up.name}",
            )
        )
    return sections


def _dropped(explained: explaining.Explainer) -> str:
    """Evidence never takes the place of the failure that it stands beside."""
    try:
        return str(explained) if any(not drop.harmless for drop in explained.drops) or explained.untraced else ""
    except Exception as error:
        return f"could not be read: {type(error).__name__}: {error}"


def _captured_at(wire: Wire) -> str:
    return f"frames at {', '.join(map(str, wire.interfaces))}{f' ({wire.expression})' if wire.expression else ''}"


def _recording(config: pytest.Config) -> bool:
    """Not in a worker of pytest-xdist, which cannot send it, and whose reports nobody makes a page of."""
    return bool(config.getoption("lab_record")) and not hasattr(config, "workerinput")


def _dead_services(up: Lab) -> str:
    """Those that ended by themselves, and containers that did, each with its last lines; a test that wants one to end tells it
    by `stop` or `kill`."""
    dead = [service for service in up.services if service.state().died]
    told = [f"service {each.spec}: {each.state()}; its last lines:\n{each.last_lines()}" for each in dead]
    gone = [node.container for node in up if node.container and node.container.state().died]
    return "\n".join([*told, *(f"container {each.node}: {each.state()}\n{each.last_lines()}" for each in gone)])


def _services(up: Lab) -> str:
    containers = [node.container for node in up if node.container]
    return "\n".join(
        [
            *(f"{each.spec}: {each.state()}\n{each.last_lines()}" for each in up.services),
            *(f"{each.node}: {each.state()}\n{each.last_lines()}" for each in containers),
        ]
    )


def _pairs(params: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())
