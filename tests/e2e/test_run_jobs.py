"""`lab run -j`: the same as without it, sooner; and whatever becomes of one process, the others and the report are whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.commands import LAB, SECONDS, Said, lab, well
from support.world import run_directory

from lab import scenarios

pytestmark = pytest.mark.root

HEAD = '"""An experiment of the user\'s own."""\nimport os, signal, sys, time\nimport pytest\n'
HOLDS = '''
    @pytest.mark.lab("alone.yaml", ttl=40)
    def test_it_holds(lab):
        """It holds."""
        assert lab["a"].sysctl["net.ipv4.ip_default_ttl"]
'''
FAILS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_does_not_hold(lab):
        """It does not hold."""
        print("said by", __file__)
        os.write(2, b"and aloud")
        assert list(lab.nodes) == ["b"]
'''
SKIPS = '''
    def test_it_is_skipped():
        """It is skipped."""
        pytest.skip("not today")
'''
WAITS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_waits(lab):
        """It waits."""
        lab["a"].spawn(["sleep", "600"])
        with open(os.environ["READY"], "w") as ready:
            ready.write("x")
        time.sleep(600)
'''
DIES = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_is_killed(lab):
        """It is killed."""
        lab["a"].run(["true"])
        os.kill(os.getpid(), signal.SIGKILL)
'''
MEETS = '''
    def test_it_meets_the_other():
        """Both are there at the same time."""
        path = os.environ["MEETING"]
        with open(path, {mode!r}):
            assert os.getppid() != 1
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "alone.yaml").write_text(
        "params:\n  ttl: {default: 64}\n---\nname: alone\nnodes: {a: {sysctls: {net.ipv4.ip_default_ttl: '{{ ttl }}'}}}\n"
    )
    return tmp_path


def write(folder: Path, name: str, *tests: str) -> Path:
    file = folder / f"test_{name}.py"
    file.write_text("".join([HEAD, *map(textwrap.dedent, tests)]))
    return file


def told(folder: Path, *words: str) -> tuple[Said, Any, list[tuple[str, ...]]]:
    """What the command said, its JSON, and the cases of its JUnit."""
    said = lab("run", folder, *words, "--json", folder / "out.json", "--junit", folder / "out.xml")
    (suite,) = ElementTree.parse(folder / "out.xml").getroot().iter("testsuite")
    cases = [(case.attrib["classname"], case.attrib["name"], *(each.tag for each in case)) for case in suite.iter("testcase")]
    counts = tuple(suite.attrib[name] for name in ("tests", "failures", "errors", "skipped"))
    return said, json.loads((folder / "out.json").read_text())["data"], [*cases, counts]


def timeless(data: Any) -> Any:
    """Without what differs from run to run: times, names of labs, what the kernel counts."""
    checks = [
        {key: each[key] for key in ("scenario", "name", "title", "outcome", "message", "detail")}
        | {"evidence": sorted(each["evidence"]), "said": each["evidence"].get("Captured stdout call")}
        for each in data["checks"]
    ]
    return {**{key: data[key] for key in ("status", "counts", "problems", "left_out")}, "checks": checks}


def test_side_by_side_says_the_same_as_one_after_another(folder: Path) -> None:
    write(folder, "a", HOLDS, FAILS, SKIPS)
    write(folder, "b", SKIPS, HOLDS)
    write(folder, "c", FAILS, HOLDS, HOLDS.replace("holds", "holds_too"))
    one, data, junit = told(folder)
    many, data_of_many, junit_of_many = told(folder, "-j", "3")
    assert (many.status, many.stderr) == (one.status, one.stderr) == (1, "")
    assert timeless(data_of_many) == timeless(data)
    assert junit_of_many == junit
    assert (
        re.sub(r"[\d.]+ m?s\b|alone-\w+", "", many.stdout).split("\n\n")[0]
        == (re.sub(r"[\d.]+ m?s\b|alone-\w+", "", one.stdout).split("\n\n")[0])
    )


def test_scenarios_run_at_the_same_time_each_in_a_process_of_its_own(folder: Path) -> None:
    """Each end of the pipe opens only once somebody opens the other one."""
    os.mkfifo(folder / "meeting")
    for name, mode in (("a", "r"), ("b", "w")):
        write(folder, name, MEETS.format(mode=mode))
    assert lab("run", folder, "-j", "2", env={"MEETING": str(folder / "meeting")}).status == 0


def test_what_a_check_wrote_stays_with_it(folder: Path) -> None:
    files = [write(folder, name, FAILS) for name in "abcd"]
    _, data, _ = told(folder, "-j", "4")
    evidence = [check["evidence"] for check in data["checks"]]
    assert [each["Captured stdout call"] for each in evidence] == [f"said by {file}\n" for file in files]
    assert {each["Captured stderr call"] for each in evidence} == {"and aloud"}


def test_a_wrong_call_runs_nothing(folder: Path) -> None:
    write(folder, "a", HOLDS)
    (folder / "test_b.py").write_text("import nothing_of_that_name\n")
    said, data, _ = told(folder, "-j", "2")
    assert (said.status, data["checks"]) == (2, [])
    (folder / "test_b.py").unlink()
    write(folder, "b", HOLDS)
    assert lab("run", folder, "-j", "2", "--set", "tttl=1").status == 2
    assert lab("run", folder, "-j", "2", "--set", "ttl=999").status == 3


def test_a_killed_process_is_a_fault_that_is_told_and_the_others_go_on(folder: Path) -> None:
    write(folder, "a", HOLDS, DIES, HOLDS.replace("holds", "never_comes"))
    write(folder, "b", HOLDS)
    said, data, junit = told(folder, "-j", "2")
    assert said.status == 70
    told_of = [(check["name"], check["outcome"]) for check in data["checks"]]
    assert told_of == [("test_it_holds", "held"), ("test_it_is_killed", "error"), ("test_it_holds", "held")]
    assert "the process of this scenario was ended by SIGKILL while it ran this check; 1 more of its checks" in said.stdout
    assert junit[-1] == ("3", "0", "1", "0")
    assert not run_directory().exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_undoes_what_every_process_made(folder: Path, number: signal.Signals, status: int) -> None:
    for name in "abc":
        write(folder, name, HOLDS, WAITS)
    with waiting(folder, "-j", "2", "--json", str(folder / "out.json")) as process:
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == status
    assert stdout.splitlines()[-1].endswith("everything is undone")
    held = [check["outcome"] for check in json.loads((folder / "out.json").read_text())["data"]["checks"]]
    assert held == ["held", "held"]
    assert not run_directory().exists()


def test_ctrl_c_reaches_every_process_at_once_and_is_heard_once(folder: Path) -> None:
    """A terminal sends it to the whole group of processes."""
    for name in "ab":
        write(folder, name, WAITS)
    with waiting(folder, "-j", "2", start_new_session=True) as process:
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (130, "")
    assert stdout.splitlines()[-1].endswith("everything is undone")
    assert not run_directory().exists()


def test_where_the_command_is_killed_its_processes_undo_what_they_made(folder: Path) -> None:
    for name in "ab":
        write(folder, name, WAITS)
    with waiting(folder, "-j", "2") as process:
        process.kill()
        process.communicate(timeout=SECONDS)  # until the last of them has closed the pipe
    assert not run_directory().exists()


def waiting(folder: Path, *words: str, start_new_session: bool = False) -> subprocess.Popen[str]:
    """`lab run` of the folder, once two checks WAITS are in their labs."""
    ready = folder / "ready"
    os.mkfifo(ready)
    pipe, environment = subprocess.PIPE, {**os.environ, "READY": str(ready)}
    argv = [*LAB, "run", str(folder), *words]
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=start_new_session)
    with os.fdopen(os.open(ready, os.O_RDWR), "rb", buffering=0) as ends:  # its own end, so that two writers are two bytes
        for _ in range(2):
            assert ends.read(1) == b"x"
    return process


def test_one_scenario_alone_needs_no_process_of_its_own(folder: Path) -> None:
    assert well("run", write(folder, "a", HOLDS), "-j", "4").stdout.splitlines()[-1].startswith("1 held, in ")


@pytest.mark.soak
def test_shipped_checks_side_by_side_come_to_the_same(tmp_path: Path) -> None:
    """Four copies at once; how long that takes is told by `make bench`."""
    for number in range(4):
        (tmp_path / f"test_copy_{number}.py").write_text((scenarios.FOLDER / "rp_filter.py").read_text())
    alone = lab("run", "rp-filter", "--json", tmp_path / "alone.json")
    many = lab("run", tmp_path, "-j", "4", "--json", tmp_path / "many.json", timeout=4 * SECONDS)
    assert many.status == alone.status, many.stdout
    verdicts = [
        [(check["name"], check["outcome"]) for check in json.loads((tmp_path / name).read_text())["data"]["checks"]]
        for name in ("alone.json", "many.json")
    ]
    assert verdicts[1] == 4 * verdicts[0]
