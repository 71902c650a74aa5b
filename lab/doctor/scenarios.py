"""What the shipped scenarios and topologies need, and facts -> findings about what they can do here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.doctor.facts import Experiment, Facts, Needs
from lab.doctor.finding import Finding, Section, lacking, note, ok

RUNS = ok("scenario.runs", "all of its {checks} checks can run")
NO_LOG = note(
    "scenario.no-log",
    "{skipped} of its {checks} checks read the kernel's log, which cannot be read: {why}",
    "they are skipped with that reason; the others run",
    "run as root of the host",
)
LACKS_FEATURE = lacking(
    "scenario.lacks-feature",
    "{topology} needs {features}, which this kernel lacks",
    "`lab run` would make its checks in a guest, but no kernel was fetched: it skips them",
    "lab kernels fetch 6.1",
)
IN_A_GUEST = note(
    "scenario.in-a-guest",
    "{topology} needs {features}, which this kernel lacks",
    "`lab run` makes its checks in a guest with a kernel that has it, if one of those fetched does: {kernels}",
)
LACKS_PROGRAM = lacking(
    "scenario.lacks-program",
    "{topology} needs {programs}, not installed",
    "its labs cannot come up",
    "lab doctor --install, or: apt-get install {packages}",
)
UNTRIED = note(
    "scenario.untried",
    "{topology} needs {features}, which could not be tried",
    "whether it runs is not known",
    "ask as root of the host",
)
UNREADABLE = lacking(
    "scenario.unreadable",
    "{topology} cannot be read: {problem}",
    "its checks fail",
    "install lab anew",
)
NO_LABS = lacking("scenario.no-labs", "no lab can be made", "none of its {checks} checks can run", "see the privileges")
BUILDS = ok("topology.builds", "`lab up {name}` can build it")
BUILDS_NOT = lacking("topology.lacks", "cannot be built: no {what}", "`lab up {name}` refuses it", "see the sections above")
BUILDS_FOR_ROOT = note("topology.root", "nothing that it needs lacks", "`lab up` needs root", "sudo lab up {name}")
TOPOLOGY_UNTRIED = note(
    "topology.untried", "needs {what}, which could not be tried", "whether `lab up {name}` works is not known", "ask as root"
)
TOPOLOGY_UNREADABLE = lacking(
    "topology.unreadable",
    "cannot be read: {problem}",
    "`lab up {name}` refuses it",
    "install lab anew",
)

_scenarios = Section.SCENARIOS


def experiments() -> tuple[Experiment, ...]:
    from lab import scenarios

    return tuple(
        Experiment(each.name, each.topologies, len(each.checks), log_checks(each.path)) for each in scenarios.shipped().values()
    )


def kernels() -> tuple[str, ...]:
    """The names of the fetched ones, the newest first."""
    from lab.kernels import store

    return tuple(each.kernel.name for each in store.fetched())


def log_checks(path: Path) -> int:
    """How many tests of a file ask for the fixture `kernel_log`."""
    tests = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return sum(test.name.startswith("test") and "kernel_log" in {arg.arg for arg in test.args.args} for test in tests)


def topologies() -> dict[str, Needs]:
    """Every shipped one. Jinja2 works on each in a process of its own, so they are read side by side."""
    from lab.topology.shipped import shipped_topologies

    names = list(shipped_topologies())
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))


def read(name: str | Path) -> Needs:
    """A topology with its default parameters."""
    from lab import recipe
    from lab.errors import TopologyError

    try:
        found = recipe.read(name)
    except TopologyError as error:
        return Needs(problem=str(error.problems[0]).splitlines()[0])
    from lab.services.environment import has_program  # costs, and Jinja2 worked meanwhile

    lacks = {each.program: each.package for each in found.services if each.package and not has_program(each)}
    return Needs(frozenset(feature for feature, _ in found.topology.needs()), lacks)


def judge(facts: Facts, blocked: bool) -> Iterator[Finding]:
    """`blocked`: no lab at all can be made."""
    for experiment in facts.experiments:
        yield from _experiment(facts, experiment, blocked)
    for name, needs in facts.topologies.items():
        if not blocked:
            yield _topology(facts, name, needs)


def _experiment(facts: Facts, experiment: Experiment, blocked: bool) -> Iterator[Finding]:
    name, checks = experiment.name, experiment.checks
    if blocked:
        yield NO_LABS.about(_scenarios, name, checks=checks)
        return
    hindrances = [each for topology in experiment.topologies for each in _hindrances(facts, name, topology)]
    yield from hindrances
    why = facts.caller.kernel_log
    if experiment.log_checks and why:
        yield NO_LOG.about(_scenarios, name, skipped=experiment.log_checks, checks=checks, why=why)
    elif not hindrances:
        yield RUNS.about(_scenarios, name, checks=checks)


def _hindrances(facts: Facts, name: str, topology: str) -> Iterator[Finding]:
    needs = facts.topologies.get(topology, Needs(problem="there is no such file"))
    if needs.problem:
        yield UNREADABLE.about(_scenarios, name, topology=topology, problem=needs.problem)
    if features := facts.kernel.absent(needs.features):
        lacks = IN_A_GUEST if facts.kernels else LACKS_FEATURE
        yield lacks.about(_scenarios, name, topology=topology, features=_listed(features), kernels=", ".join(facts.kernels))
    if features := facts.kernel.untried(needs.features):
        yield UNTRIED.about(_scenarios, name, topology=topology, features=_listed(features))
    if needs.lacks:
        holes = {"programs": ", ".join(needs.lacks), "packages": " ".join(sorted(set(needs.lacks.values())))}
        yield LACKS_PROGRAM.about(_scenarios, name, topology=topology, **holes)


def _topology(facts: Facts, name: str, needs: Needs) -> Finding:
    row = f"topology {name}"
    if needs.problem:
        return TOPOLOGY_UNREADABLE.about(_scenarios, row, name=name, problem=needs.problem)
    if lacks := (*facts.kernel.absent(needs.features), *needs.lacks):
        return BUILDS_NOT.about(_scenarios, row, name=name, what=" and no ".join(each.replace("_", " ") for each in lacks))
    if untried := facts.kernel.untried(needs.features):
        return TOPOLOGY_UNTRIED.about(_scenarios, row, name=name, what=_listed(untried))
    return (BUILDS_FOR_ROOT if facts.caller.uid else BUILDS).about(_scenarios, row, name=name)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
