"""A project of the user's own under pytest-xdist: the verdicts of a serial run, and nothing left behind, not even by workers
that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import junit
from support.privilege import without_privilege
from support.world import NETNS, run_directory

pytestmark = pytest.mark.root

SECONDS = 120.0
TOPOLOGY = """
params: {first: 1}
---
name: pair
nodes: {a: {}, b: {}}
links: [{endpoints: [a, b], addresses: {a: "10.0.0.{{ first }}/24", b: 10.0.0.2/24}}]
"""
SERVED = """
name: pair
nodes: {a: {}, b: {services: {held: {command: [sleep, "1000"]}}}}
links: [{endpoints: [a, b]}]
"""
TESTS = """
    import os
    import signal
    from pathlib import Path
    import pytest

    pytestmark = pytest.mark.lab("pair.yaml")

    @pytest.fixture(autouse=True)
    def named(lab, record_property):
        record_property("lab", lab.name)

    @pytest.mark.parametrize("turn", range(4))
    def test_the_other_answers(lab, turn):
        lab["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])

    @pytest.mark.lab("pair.yaml", first=7)
    def test_a_parameter(lab):
        assert "10.0.0.7/24" in lab["a"].run(["ip", "address"]).stdout

    def test_a_table(lab, report_table):
        report_table("nodes", ("node", "s"), [(node.name, 1.5) for node in lab])

    def test_a_frame(lab):
        with lab.capture("a:eth0", filter="icmp") as wire:
            lab["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
            wire.expect(lambda packet: True, "a frame")
        assert not "with this evidence"

    def test_a_command_fails(lab):
        lab["a"].run(["false"])

    @pytest.mark.lab("served.yaml")
    def test_a_service_dies(lab):
        service = lab["b"].services["held"]
        os.kill(service.state().pid, signal.SIGKILL)
        lab["b"].wait(lambda: service.state().died, what="it is dead")

    def test_a_leak(lab):
        Path("/run/netns", lab.name + "-leak").symlink_to(lab["a"].ns)

    @pytest.mark.needs("tcp_ao and no kernel has")
    def test_a_feature_that_there_is_not(lab): ...

    @pytest.mark.lab("nothing.yaml")
    def test_a_file_that_there_is_not(lab): ...

    def test_skipped(lab):
        pytest.skip("not today")
"""
KILLED = """
    import os, signal, pytest

    @pytest.mark.lab("pair.yaml")
    @pytest.mark.parametrize("turn", range(4))
    def test_it(lab, turn):
        lab["a"].spawn(["sleep", "1000"])
        if turn == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""
WAITS = """
    import os, signal, pytest
    from pathlib import Path

    @pytest.mark.lab("pair.yaml")
    @pytest.mark.parametrize("turn", range(2))
    def test_it(lab, turn):
        Path("at", str(os.getpid())).touch()
        lab["a"].run(["sleep", "1000"], timeout=1000)
"""
Verdict = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Done:
    """How a run of pytest ended."""

    status: int
    stdout: str
    junit: Path

    def cases(self) -> list[ElementTree.Element]:
        return list(ElementTree.parse(self.junit).getroot().iter("testcase"))

    def verdicts(self) -> Verdict:
        """Of each test what became of it, and its tables."""
        return {str(case.get("name")): _verdict(case) for case in self.cases()}

    def labs(self) -> list[str]:
        return [str(each.get("value")) for case in self.cases() for each in case.iter("property") if each.get("name") == "lab"]

    def sections(self) -> Counter[str]:
        return Counter(re.findall(r"^-+ lab: (.+?) -+$", self.stdout, re.MULTILINE))


def _verdict(case: ElementTree.Element) -> tuple[str, ...]:
    bad = sorted(each.tag for each in case if each.tag in ("failure", "error", "skipped"))
    tables = [str(each.get("value")) for each in case.iter("property") if str(each.get("name")).startswith("table: ")]
    return (*(bad or ["passed"]), *tables)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project")
    (path / "pair.yaml").write_text(TOPOLOGY)
    (path / "served.yaml").write_text(SERVED)
    (path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    for name, text in (("test_many.py", TESTS), ("test_killed.py", KILLED), ("test_waits.py", WAITS)):
        (path / name).write_text(textwrap.dedent(text))
    (path / "at").mkdir()
    return path


def argv(*words: str) -> list[str]:
    return [sys.executable, "-B", "-m", "pytest", *words]


def ours() -> dict[str, str]:
    """Not what a pytest that runs these tests, or its xdist, tells its own."""
    return {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}


def run(folder: Path, *words: str) -> Done:
    file = folder / f"{len(list(folder.glob('*.xml')))}.xml"
    command = argv(f"--junitxml={file}", *words)
    done = subprocess.run(command, cwd=folder, env=ours(), capture_output=True, text=True, timeout=SECONDS, check=False)
    return Done(done.returncode, done.stdout + done.stderr, file)


@pytest.fixture(scope="module")
def serial(folder: Path) -> Iterator[Done]:
    yield run(folder, "test_many.py")
    remove_the_leak()


@pytest.fixture(scope="module")
def parallel(folder: Path) -> Iterator[Done]:
    """Also with what `lab run` wants to be kept of every test, which is in no worker's way."""
    yield run(folder, "-n", "4", "--lab-record", "test_many.py")
    remove_the_leak()


def remove_the_leak() -> None:
    for link in NETNS.glob("pair-*-leak"):
        if run_directory() in link.readlink().parents:
            link.unlink()


def test_four_workers_come_to_the_same_verdicts_with_the_same_evidence(serial: Done, parallel: Done) -> None:
    assert parallel.verdicts() == serial.verdicts(), parallel.stdout
    assert parallel.status == serial.status == 1
    counts = Counter(verdict[0] for verdict in serial.verdicts().values())
    assert counts == {"passed": 6, "failure": 3, "error": 3, "skipped": 1}
    assert junit.read(parallel.junit) == junit.read(serial.junit)
    assert serial.verdicts()["test_a_table"][1].split() == ["node", "s", "a", "1.50", "b", "1.50"]
    assert parallel.sections() == serial.sections()
    assert parallel.sections()["frames at a:eth0 (icmp)"] == 1


def test_every_worker_has_labs_of_its_own_and_checks_them_for_leaks(parallel: Done) -> None:
    labs = parallel.labs()
    assert len(set(labs)) == len(labs) == 11
    assert len(re.findall(r"^E .* lab pair-\w+ could not be undone whole", parallel.stdout, re.MULTILINE)) == 1
    remove_the_leak()
    assert not run_directory().exists()
    assert not [link for link in NETNS.glob("pair-*") if run_directory() in link.readlink().parents]


def test_a_worker_that_is_killed_leaves_nothing_and_the_others_go_on(folder: Path) -> None:
    done = run(folder, "-n", "2", "test_killed.py")
    assert re.search(r"1 failed, 3 passed", done.stdout), done.stdout
    assert re.search(r"worker 'gw\d' crashed while running 'test_killed.py::test_it\[1\]'", done.stdout)
    assert not run_directory().exists()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing_once_its_workers_have_ended(folder: Path, number: signal.Signals) -> None:
    """The workers learn of it by the end of their channel, and undo what they made within some seconds."""
    with subprocess.Popen(argv("-n", "2", "test_waits.py"), cwd=folder, env=ours(), stdout=subprocess.DEVNULL) as process:
        until(lambda: len(list((folder / "at").iterdir())) == 2)
        process.send_signal(number)
    workers = [path.name for path in (folder / "at").iterdir()]
    until(lambda: not any(Path("/proc", worker).exists() for worker in workers))
    for worker in workers:
        (folder / "at" / worker).unlink()
    assert not run_directory().exists()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_a_parameter_that_no_topology_has_is_an_error_of_usage(folder: Path, words: tuple[str, ...]) -> None:
    done = run(folder, *words, "--lab-set=last=5", "test_killed.py")
    assert done.status == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "no selected test's topology has a parameter 'last': they have first" in done.stdout
    assert "INTERNALERROR" not in done.stdout


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_without_root_each_reason_is_counted_and_said_once(folder: Path, words: tuple[str, ...]) -> None:
    done = without_privilege(*argv(*words, "test_killed.py"), cwd=folder)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("lab: ")]
    assert line.startswith("lab: 4 skipped: making namespaces and mounts needs root: run it as root")
    assert "`lab run FILE`" in line
    assert os.WEXITSTATUS(done.returncode) == 0
