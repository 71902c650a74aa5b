"""`lab run`: its exit statuses, each for a real reason; its reports; and that nothing of the user's changes what it does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.commands import LAB, SECONDS, Said, lab, well
from support.privilege import without_privilege
from support.world import NETNS, run_directory

from lab import __version__

pytestmark = pytest.mark.root

Write = Callable[..., Path]
ALONE = "name: alone\nnodes: {a: {}}\n"
HOLDS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_holds(lab):
        """A lab of one node has one node."""
        assert list(lab.nodes) == ["a"]
'''
FAILS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_does_not_hold(lab):
        """A lab of one node has two."""
        print("what the check said")
        assert len(lab.nodes) == 2
'''
SKIPS = '''
    def test_it_is_skipped():
        """Today is not the day."""
        pytest.skip("not today")
'''
MEASURES = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_is_measured(lab, report_table):
        """What was measured is told."""
        report_table("nodes", ("node", "s"), [(node.name, 1.5) for node in lab])
'''
LEAKS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_leaks(lab):
        """A link into the lab stays behind."""
        Path("/run/netns", lab.name + "-leak").symlink_to(lab["a"].ns)
'''

SLOW = '''
    @pytest.mark.slow
    def test_it_takes_its_time():
        """The default timers hold."""
'''


@pytest.fixture
def scenario(tmp_path: Path) -> Write:
    """Writes a test file of the user's with these tests, beside the topology `alone.yaml`."""

    def write(*tests: str, topology: str = ALONE) -> Path:
        (tmp_path / "alone.yaml").write_text(topology)
        file = tmp_path / "test_mine.py"
        lines = [
            '"""An experiment of the user\'s own."""',
            "import os, signal, sys, time",
            "from pathlib import Path",
            "import pytest",
        ]
        file.write_text("\n".join([*lines, *map(textwrap.dedent, tests)]))
        return file

    return write


def checks(said: Said) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in said.json("run")["checks"]}


# -- the exit statuses


def test_where_every_check_holds_the_status_is_0(scenario: Write) -> None:
    said = well("run", scenario(HOLDS))
    assert "✓ A lab of one node has one node" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("1 held, in ")
    assert said.stderr == ""


def test_a_check_that_does_not_hold_is_1_and_shows_its_evidence(scenario: Write) -> None:
    said = lab("run", scenario(HOLDS, FAILS))
    assert said.status == 1
    assert "✗ A lab of one node has two" in said.stdout
    assert "assert 1 == 2" in said.stdout
    assert f"kernel release  {os.uname().release}" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("1 held, 1 did not hold, in ")


def test_a_scenario_that_nobody_knows_is_2_and_the_nearest_is_named() -> None:
    said = lab("run", "rp-filtre")
    assert (said.status, said.stdout) == (2, "")
    assert "there is no scenario 'rp-filtre'" in said.stderr
    assert "did you mean 'rp-filter'?" in said.stderr


def test_a_file_that_cannot_be_collected_is_2_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    said = lab("run", tmp_path / "test_broken.py")
    assert said.status == 2
    assert "No module named 'nothing_of_that_name'" in said.stdout


def test_a_file_without_a_test_is_2(tmp_path: Path) -> None:
    (tmp_path / "test_empty.py").write_text("")
    assert lab("run", tmp_path / "test_empty.py").status == 2


def test_a_check_that_is_not_there_is_2() -> None:
    said = lab("run", "rp-filter::test_of_no_such_name")
    assert said.status == 2
    assert "not found" in said.stderr


def test_a_parameter_that_no_topology_has_is_2_and_those_that_there_are_are_named() -> None:
    said = lab("run", "rp-filter", "--set", "rp_filtre=1")
    assert said.status == 2
    assert (
        "no selected test's topology has a parameter 'rp_filtre': they have first, forwards, lan, log_martians, rp_filter"
        in said.stderr
    )


def test_a_value_that_is_no_choice_is_2() -> None:
    said = lab("run", "rp-filter", "--set", "rp_filter=7")
    assert said.status == 2
    assert "choices are: 0, 1, 2" in said.stdout


def test_a_report_that_cannot_be_written_is_2_before_anything_is_run(scenario: Write, tmp_path: Path) -> None:
    said = lab("run", scenario(HOLDS), "--json", tmp_path / "nowhere" / "out.json")
    assert (said.status, said.stdout) == (2, "")


def test_a_step_that_fails_is_3_with_the_step_in_words(scenario: Write) -> None:
    said = lab("run", scenario(HOLDS, topology="name: alone\nnodes: {a: {sysctls: {net.ipv4.ip_default_ttl: 999}}}\n"))
    assert said.status == 3
    assert "step failed on node a: set net.ipv4.ip_default_ttl = 999" in said.stdout
    assert "! A lab of one node has one node" in said.stdout


def test_a_leak_is_3_although_the_check_held(scenario: Write) -> None:
    said = lab("run", scenario(LEAKS), "-f", "json")
    try:
        assert said.status == 3
        (check,) = said.json("run")["checks"]
        assert check["outcome"] == "error"
        assert "-leak still leads into the lab" in check["message"]
    finally:
        for link in NETNS.glob("alone-*-leak"):
            if run_directory() in link.readlink().parents:
                link.unlink()


def test_where_everything_is_skipped_the_status_is_4(scenario: Write) -> None:
    said = lab("run", scenario(SKIPS))
    assert said.status == 4
    title, reason = said.stdout.splitlines()[1:3]
    assert re.fullmatch(r"  - Today is not the day  \d+ ms", title)
    assert reason == "    not today"


def test_one_skipped_among_others_is_0_and_with_fail_on_skip_4(scenario: Write) -> None:
    file = scenario(HOLDS, SKIPS)
    assert lab("run", file).status == 0
    assert lab("run", file, "--fail-on-skip").status == 4


def test_slow_checks_are_left_out_and_counted(scenario: Write, tmp_path: Path) -> None:
    said = well("run", scenario(HOLDS, SLOW), "--json", tmp_path / "out.json")
    assert said.stdout.splitlines()[-1].endswith(" s; 1 slow left out, --slow runs them")
    data = json.loads((tmp_path / "out.json").read_text())["data"]
    assert (data["left_out"], [check["name"] for check in data["checks"]]) == (1, ["test_it_holds"])


def test_slow_checks_are_run_with_slow(scenario: Write) -> None:
    said = well("run", scenario(HOLDS, SLOW), "--slow")
    assert "✓ The default timers hold" in said.stdout
    assert "left out" not in said.stdout


def test_where_everything_is_slow_nothing_was_checked_and_the_status_is_that_of_skipping(scenario: Write) -> None:
    said = lab("run", scenario(SLOW))
    assert said.status == 4
    assert said.stdout.strip().startswith("nothing was checked, in ")


def test_where_not_even_a_user_namespace_can_be_made_it_is_3_and_says_why() -> None:
    done = without_privilege(*LAB, "run", "rp-filter")
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs a user namespace, and this user has no id in the user namespace it is in" in done.stderr


def test_root_without_a_capability_is_3_and_it_is_named() -> None:
    """As root of a container without privileges is."""
    words = ["setpriv", "--bounding-set", "-sys_admin", *LAB, "run", "rp-filter"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "root has no CAP_SYS_ADMIN here\n    in a container: start it with --privileged" in done.stderr


def test_a_fault_of_labs_own_is_70(scenario: Write) -> None:
    broken = """
        from lab.live import Lab
        @pytest.fixture(autouse=True)
        def break_it(monkeypatch):
            monkeypatch.setattr(Lab, "_build", lambda *_: {}["a fault"])
    """
    said = lab("run", scenario(broken, HOLDS))
    assert said.status == 70
    assert "KeyError: 'a fault'" in said.stdout


WAITS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_waits(lab):
        """It waits to be interrupted."""
        lab["a"].spawn(["sleep", "600"])
        open(os.environ["READY"], "w").close()
        time.sleep(600)
'''


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_undoes_everything_and_has_its_own_status(scenario: Write, number: signal.Signals, status: int) -> None:
    said = interrupted(scenario(HOLDS, WAITS), number)
    assert said.status == status
    assert "✓ A lab of one node has one node" in said.stdout
    assert said.stdout.splitlines()[-1].endswith("everything is undone")
    assert not run_directory().exists()


def interrupted(file: Path, number: signal.Signals, *words: str) -> Said:
    """`lab run`, sent the signal once the check WAITS is in its lab."""
    ready = file.parent / "ready"
    os.mkfifo(ready)
    pipe, environment = subprocess.PIPE, {**os.environ, "READY": str(ready)}
    with subprocess.Popen([*LAB, "run", file, *words], stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        ready.read_text()  # returns when the check has opened the other end
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SECONDS)
    return Said(process.returncode, stdout, stderr)


def test_what_a_killed_run_leaves_is_what_prune_removes(scenario: Write) -> None:
    said = interrupted(scenario(WAITS), signal.SIGKILL)
    assert said.status == -signal.SIGKILL
    (home,) = run_directory().iterdir()
    assert lab("ls", "-f", "json").json("labs")[0]["status"] == "dead"
    assert "alone-" in well("prune").stdout
    assert not home.exists()
    assert not [link for link in NETNS.glob("alone-*") if home in link.readlink().parents]


# -- what is the user's and changes nothing


def test_a_configuration_of_pytests_in_the_users_folder_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only --no-such-option\npython_functions = nothing\n")
    (tmp_path / "conftest.py").write_text("raise SystemExit('this conftest.py was read')\n")
    (tmp_path / "rp-filter").mkdir()
    environment = {"PYTEST_ADDOPTS": "--collect-only", "PYTEST_PLUGINS": "nothing_of_that_name"}
    said = lab("run", "rp-filter::test_without_the_filter_both_answer", cwd=tmp_path, env=environment)
    assert (said.status, said.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conftest.py", "pytest.ini", "rp-filter"]


def test_a_configuration_of_pytests_beside_a_test_file_of_the_users_changes_nothing(scenario: Write) -> None:
    file = scenario(HOLDS)
    (file.parent / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\npython_functions = nothing\n")
    assert lab("run", file).status == 0


def test_the_conftest_beside_a_test_file_of_the_users_belongs_to_it(scenario: Write) -> None:
    file = scenario("def test_it_has_its_fixture(mine):\n    assert mine == 7\n")
    (file.parent / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef mine():\n    return 7\n")
    assert lab("run", file).status == 0


def test_a_folder_of_test_files_is_run_whole(scenario: Write) -> None:
    assert checks(lab("run", scenario(HOLDS, SKIPS).parent, "-f", "json")) == {
        "test_it_holds": "held",
        "test_it_is_skipped": "skipped",
    }


# -- reports


def test_json_on_stdout_is_one_envelope_and_nothing_else(scenario: Write) -> None:
    said = lab("run", scenario(HOLDS, FAILS, SKIPS), "-f", "json")
    data = said.json("run")
    assert (said.status, data["status"]) == (1, 1)
    assert data["counts"] == {"held": 1, "failed": 1, "error": 0, "skipped": 1}
    assert "✓ A lab of one node has one node" in said.stderr
    failed = data["checks"][1]
    assert failed["evidence"]["Captured stdout call"] == "what the check said\n"
    assert f"lab version     {__version__}" in failed["evidence"]["lab"]
    assert failed["evidence"]["topology as deployed"] == ALONE.strip()


def test_json_and_junit_say_the_same(scenario: Write, tmp_path: Path) -> None:
    file = scenario(HOLDS, FAILS, SKIPS)
    lab("run", file, "--json", tmp_path / "out.json", "--junit", tmp_path / "out.xml")
    read = json.loads((tmp_path / "out.json").read_text())["data"]
    (suite,) = ElementTree.parse(tmp_path / "out.xml").getroot().iter("testsuite")
    assert suite.attrib["name"] == "lab"
    names = {None: "held", "failure": "failed", "error": "error", "skipped": "skipped"}
    in_junit = {}
    for case in suite.iter("testcase"):
        told = [child.tag for child in case if child.tag in names]
        title = next(each.attrib["value"] for each in case.iter("property") if each.attrib["name"] == "title")
        in_junit[case.attrib["name"], title] = names[told[0] if told else None]
    assert in_junit == {(check["name"], check["title"]): check["outcome"] for check in read["checks"]}
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["skipped"]) == ("3", "1", "1")


def test_a_run_that_was_interrupted_still_writes_its_report(scenario: Write, tmp_path: Path) -> None:
    interrupted(scenario(HOLDS, WAITS), signal.SIGTERM, "--json", str(tmp_path / "out.json"))
    data = json.loads((tmp_path / "out.json").read_text())["data"]
    assert (data["status"], [check["name"] for check in data["checks"]]) == (143, ["test_it_holds"])


def test_quiet_says_only_the_verdict_where_all_holds(scenario: Write) -> None:
    assert len(well("run", scenario(HOLDS), "-q").stdout.splitlines()) == 1


def test_a_reader_that_goes_away_changes_no_status(scenario: Write) -> None:
    with subprocess.Popen([*LAB, "run", scenario(HOLDS, FAILS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 1


# -- keeping a failed lab


def test_a_kept_lab_can_be_entered_by_the_commands_that_are_printed(scenario: Write) -> None:
    said = lab("run", scenario(FAILS), "--keep-on-failure")
    assert said.status == 1
    commands = [line.split()[1:] for line in said.stdout.splitlines() if line.strip().startswith("lab ") and "alone-" in line]
    assert [command[0] for command in commands] == ["shell", "exec", "down"]
    enter, execute, end = commands
    shell = subprocess.run([*LAB, *enter], input="echo inside $(hostname)\n", capture_output=True, text=True, check=False)
    assert shell.stdout.startswith("inside")
    assert "LOOPBACK" in well(*execute).stdout
    well(*end)
    assert not run_directory().exists()


def test_only_labs_of_failed_checks_are_kept(scenario: Write) -> None:
    lab("run", scenario(HOLDS, FAILS), "--keep-on-failure")
    (kept,) = lab("ls", "-f", "json").json("labs")
    well("down", kept["name"])


def test_a_table_of_a_check_that_holds_is_on_the_terminal_in_json_and_in_junit(scenario: Write, tmp_path: Path) -> None:
    junit, file = tmp_path / "out.xml", tmp_path / "out.json"
    said = well("run", scenario(HOLDS, MEASURES), "--junit", junit, "--json", file)
    assert "    nodes\n      node  s\n      a     1.50\n" in said.stdout
    tables = [check["tables"] for check in json.loads(file.read_text())["data"]["checks"]]
    assert tables == [{}, {"nodes": {"columns": ["node", "s"], "rows": [["a", "1.50"]]}}]
    properties = {each.get("name"): each.get("value") for each in ElementTree.parse(junit).iter("property")}
    assert properties["table: nodes"] == "node  s\na     1.50"
