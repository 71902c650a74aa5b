"""The GitHub Action as a runner runs it: the steps of action.yml by bash, with their inputs, in a repository of a user's."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from support import junit, runner
from support.commands import well
from support.runner import Ran
from support.user import User, new_user
from support.world import run_directory

from lab import kernels
from lab.substrate import features

pytestmark = pytest.mark.root

TOPOLOGY = "params: {nodes: 1}\n---\nname: alone\nnodes:\n#% for i in range(nodes)\n  n{{ i }}: {}\n#% endfor\n"
HEAD = '"""What is claimed of a lab."""\nimport pytest\n'
HOLDS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_holds(lab):
        """A lab of one node has one node."""
        assert len(lab.nodes) == 1
'''
FAILS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_does_not_hold(lab):
        """A lab: of 100% of one node, has two."""
        print("::error file=forged.py::this is no command")
        assert len(lab.nodes) == 2, "a | b <c>"
'''
SKIPS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_is_skipped(lab):
        """Today is the day."""
        pytest.skip("not today")
'''
WAITS = '''
    from pathlib import Path
    @pytest.mark.lab("alone.yaml")
    def test_it_waits(lab):
        """It waits to be cancelled."""
        Path(__file__).with_name("up").touch()
        lab["n0"].run(["sleep", "1000"], timeout=1000)
'''
LACKS = '''
    @pytest.mark.needs("{feature}")
    @pytest.mark.lab("alone.yaml")
    def test_it_lacks(lab):
        """What lacks is not asked for by name."""
'''
ROOTS = """
    import os
    @pytest.mark.lab("alone.yaml")
    def test_it_is_root(lab):
        assert os.geteuid() == 0
        assert len(open("/proc/self/uid_map").readlines()) == 1 and open("/proc/self/uid_map").read().split()[1] == "0"
"""
Act = Callable[..., Ran]
SECONDS = 120.0
KINDS = {"dummy": "kind: dummy", "vrf": "kind: vrf, table: 10", "bond": "kind: bond"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "work space"
    path.mkdir()
    return path


@pytest.fixture
def act(workspace: Path, tmp_path: Path) -> Act:
    """Writes a test file with these tests into the workspace and runs the action there; lab is in this interpreter."""

    def acted(*tests: str, **given: str) -> Ran:
        write(workspace, *tests)
        ran = runner.run(workspace, tmp_path, {"python": sys.executable, "install": "false", **given})
        assert ran.told("error") or not ran.status
        return ran

    return acted


def write(folder: Path, *tests: str) -> None:
    (folder / "alone.yaml").write_text(TOPOLOGY)
    (folder / "test_mine.py").write_text(HEAD + "".join(map(textwrap.dedent, tests)))


def files(ran: Ran) -> set[str]:
    """Those that are uploaded."""
    assert ran.uploaded["path"] == ran.outputs["report"]
    return {str(path.relative_to(ran.outputs["report"])) for path in Path(ran.outputs["report"]).rglob("*")}


# -- lab run


def test_where_every_check_holds_the_step_holds_and_the_report_is_uploaded(act: Act) -> None:
    ran = act(HOLDS, scenarios="test_mine.py rp-filter::test_without_the_filter_both_answer", jobs="2")
    assert (ran.status, ran.outputs["status"]) == (0, "0"), ran.log
    assert files(ran) == {"index.html", "run.json", "junit.xml"}
    assert ran.uploaded["name"] == "lab-report"
    assert set(junit.read(Path(ran.outputs["junit"])).values()) == {"held"}
    assert ran.summary.splitlines()[0] == "### ✅ lab: 2 held"
    assert not ran.commands or {each.kind for each in ran.commands} <= {"group", "endgroup"}


def test_a_check_that_does_not_hold_fails_the_step_at_its_line(act: Act, workspace: Path) -> None:
    ran = act(HOLDS, FAILS, scenarios=".")
    assert (ran.status, ran.outputs["status"]) == (1, "1")
    (error,) = ran.told("error")
    lines = (workspace / "test_mine.py").read_text().splitlines()
    assert error.properties["file"] == "test_mine.py"
    assert "assert len(lab.nodes) == 2" in lines[int(error.properties["line"]) - 1]
    assert error.properties["title"] == "A lab: of 100% of one node, has two: did not hold"
    assert "a | b <c>" in error.text
    assert "| A lab: of 100% of one node, has two | did not hold | AssertionError: a &#124; b &lt;c><br>" in ran.summary
    assert ran.summary.startswith("### ❌ lab: 1 held, 1 did not hold\n")
    assert files(ran) == {"index.html", "run.json", "junit.xml"}


def test_what_a_scenario_prints_is_no_command_to_the_runner(act: Act) -> None:
    ran = act(FAILS, scenarios=".")
    assert "::error file=forged.py::this is no command" in ran.log
    assert "forged.py" not in [each.properties.get("file") for each in ran.commands]


def test_a_file_that_cannot_be_collected_fails_the_step(act: Act) -> None:
    ran = act("import nothing_of_that_name\n", scenarios="test_mine.py")
    assert (ran.status, ran.outputs["status"]) == (2, "2")
    assert ran.told("error")


def test_a_job_that_is_cancelled_undoes_its_labs(workspace: Path, tmp_path: Path) -> None:
    """The runner sends SIGINT to the process that it started, and to no other."""
    write(workspace, WAITS)

    def cancelled(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, cwd=folder, env=dict(env), stdout=pipe, text=True, start_new_session=True) as process:
            deadline = time.monotonic() + SECONDS
            while not (folder / "up").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            return subprocess.CompletedProcess(argv, process.wait(SECONDS), process.communicate()[0], "")

    ran = runner.run(
        workspace, tmp_path, {"python": sys.executable, "install": "false", "scenarios": "test_mine.py"}, cancelled
    )
    assert (ran.status, ran.outputs["status"]) == (130, "130"), ran.log
    assert "interrupted, everything is undone" in ran.log
    assert not run_directory().exists()


# -- skips


@pytest.mark.parametrize(
    ("way", "allow", "status"), [("scenarios", "false", 4), ("pytest", "false", 4), ("scenarios", "true", 0)]
)
def test_a_skip_fails_the_step_unless_it_is_allowed(act: Act, way: str, allow: str, status: int) -> None:
    ran = act(HOLDS, SKIPS, **{way: "test_mine.py", "allow_skips": allow})
    assert (ran.status, ran.outputs["status"]) == (status, str(status)), ran.log
    (told,) = ran.told("error" if status else "notice")
    assert told.text == "not today"
    assert "| skipped | not today |" in ran.summary


def test_what_this_kernel_lacks_is_a_skip_where_no_guest_is_allowed(act: Act) -> None:
    ran = act(HOLDS, LACKS.format(feature=lacking()), scenarios="test_mine.py", kernels="none")
    assert ran.status == 4
    (error,) = ran.told("error")
    assert f"this kernel has no {lacking()}" in error.text
    assert "--kernel host forbids a guest" in error.text


def lacking() -> str:
    """What this kernel lacks, and User-mode Linux has."""
    found = sorted(features.missing(KINDS))
    if not found:
        pytest.skip("this kernel lacks nothing that a guest would be for")
    return found[0]


def test_what_this_kernel_lacks_is_checked_in_a_guest_among_other_tests_of_pytest(act: Act) -> None:
    ran = act(HOLDS, FAILS, LACKS.format(feature=lacking()), pytest="test_mine.py", kernels="uml-6.1")
    assert ran.status == 1, ran.log
    found = junit.read(Path(ran.outputs["junit"]))
    assert found == {"test_it_holds": "held", "test_it_does_not_hold": "failure", "test_it_lacks": "held"}
    assert files(ran) == {"junit.xml", "guest", *(f"guest/{name}" for name in ("index.html", "run.json", "junit.xml"))}
    assert [each.text for each in ran.told("group")] == [f"{sys.executable} -m lab kernels fetch uml-6.1"]


@pytest.mark.soak
def test_a_kernel_is_fetched_for_what_lacks_and_the_run_is_one_report(act: Act, tmp_path: Path) -> None:
    given = {"scenarios": "test_mine.py", "kernels": "uml-6.1", "LAB_CACHE": str(tmp_path / "cache")}
    ran = act(HOLDS, LACKS.format(feature=lacking()), **given)
    assert ran.status == 0, ran.log
    assert junit.read(Path(ran.outputs["junit"])) == {"test_it_holds": "held", "test_it_lacks": "held"}
    assert "### ✅ lab: 2 held" in ran.summary


def test_a_kernel_that_cannot_be_fetched_is_a_warning_and_what_lacks_a_skip(act: Act) -> None:
    given = {"pytest": "test_mine.py", "kernels": "six"}
    ran = act(HOLDS, LACKS.format(feature=lacking()), **given)
    assert ran.status == 4
    assert "no kernel for a guest could be fetched" in ran.told("warning")[0].text


# -- pytest


def test_scenarios_of_ones_own_run_within_ones_own_tests_and_configuration(act: Act, workspace: Path) -> None:
    (workspace / "sub dir").mkdir()
    (workspace / "sub dir" / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef mine(): return 5\n")
    write(workspace / "sub dir", HOLDS, "def test_mine(mine): assert mine == 5\n")
    ran = act(pytest="-n 2 --dist load -W error .", working_directory="sub dir", report="out/put", artifact="")
    assert ran.status == 0, ran.log
    assert junit.read(Path(ran.outputs["junit"])) == {"test_it_holds": "held", "test_mine": "held"}
    assert ran.outputs["report"] == f"{workspace}/sub dir/out/put"
    assert ran.uploaded == {}


@pytest.mark.parametrize(
    ("words", "status"), [("test_mine.py", 1), ("test_none.py", 2), ("--no-such-option", 2), ("-k nothing .", 2)]
)
def test_the_status_is_that_of_lab_run_whoever_runs(act: Act, words: str, status: int) -> None:
    ran = act(FAILS, pytest=words)
    assert (ran.status, ran.outputs["status"]) == (status, str(status))
    if status == 1:
        (error,) = ran.told("error")
        assert (error.properties["file"], error.properties["title"]) == (
            "test_mine.py",
            "test_mine::test_it_does_not_hold: did not hold",
        )


# -- inputs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give either scenarios, for lab run, or pytest"),
        ({"scenarios": "a", "pytest": "b"}, "give either scenarios, for lab run, or pytest"),
        ({"scenarios": "a", "allow_skips": "yes"}, "allow-skips is 'yes': write true or false"),
        ({"scenarios": "a", "jobs": "0"}, "jobs is '0'"),
        ({"scenarios": "'a"}, "scenarios: No closing quotation"),
        ({"scenarios": "a", "working_directory": "none"}, "was the repository checked out"),
        ({"scenarios": "a", "python": "no-such-python"}, "there is no program no-such-python"),
        ({"scenarios": "a", "python": "/bin/true -c"}, "there is no program /bin/true -c"),
        ({"scenarios": "a", "python": "false"}, "/false has no lab"),
    ],
)
def test_an_input_that_is_wrong_is_told_and_nothing_runs(act: Act, given: dict[str, str], said: str) -> None:
    ran = act(HOLDS, **given)
    assert ran.status == 2
    assert [said in error.text for error in ran.told("error")] == [True], ran.log
    assert ran.uploaded == {}


@pytest.mark.parametrize(
    ("names", "status"), [(("scenarios",), 2), (("pytest",), 2), (("python",), 2), (("kernels", "report"), 4)]
)
def test_no_input_is_read_by_a_shell(act: Act, workspace: Path, names: tuple[str, ...], status: int) -> None:
    hostile = "$(touch pwned) `touch pwned` ; touch pwned & 'a\nb' ${{ github.token }}"
    given = {"scenarios": "test_mine.py"} if status == 4 or "python" in names else {}
    ran = act(SKIPS, **{**given, **dict.fromkeys(names, hostile)})
    assert ran.status == status, ran.log
    assert not list(workspace.rglob("pwned"))


def test_an_option_among_the_scenarios_is_none(act: Act) -> None:
    ran = act(HOLDS, scenarios="--keep-on-failure test_mine.py")
    assert ran.status == 2
    assert "there is no scenario '--keep-on-failure'" in ran.log


# -- whoever the runner is


@pytest.fixture
def user() -> Iterator[User]:
    with new_user(subordinate=True) as made:
        folder = made.home / "bin"
        folder.mkdir(mode=0o755)
        paths = f"PYTHONHOME={made.home}/python PYTHONPATH={made.home}/repository:{made.home}/packages"
        python = f'#!/bin/sh\nexport {paths} LD_LIBRARY_PATH={made.home}/python/lib\nexec {made.python[0]} -B "$@"\n'
        (folder / "python3").write_text(python)
        (folder / "python3").chmod(0o755)
        yield made


def acts(user: User, **given: str) -> Ran:
    """The action in a workspace below the user's home, where also the repository is."""
    for name in ("work", "temp"):
        (user.home / name).mkdir(exist_ok=True)
        os.chown(user.home / name, user.uid, user.gid)

    def execute(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        hidden = {"HOME": str(user.home), "PATH": f"{user.home}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": str(user.home)}
        return runner.here(user.argv(*argv), folder, {**env, **hidden})

    given = {"python": "python3", "install": "false", **given}
    return runner.run(user.home / "work", user.home / "temp", given, execute, user.home / "repository")


def test_where_there_is_sudo_it_is_roots_run_and_the_report_the_users(user: User) -> None:
    sudoers = user.home / "sudoers"
    sudoers.write_text(f"Defaults env_reset, secure_path=/usr/bin\n{user.name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    bound = f'done(libc.mount(b"{sudoers}", b"/etc/sudoers", None, ctypes.c_ulong(0x1000), None))'
    able = dataclasses.replace(user, before=bound)
    (user.home / "work").mkdir()
    write(user.home / "work", HOLDS, ROOTS)
    ran = acts(able, pytest="test_mine.py")
    assert ran.status == 0, ran.log
    written = list(Path(ran.outputs["report"]).rglob("*"))
    assert written
    assert {path.stat().st_uid for path in [Path(ran.outputs["report"]), *written]} == {user.uid}
    assert not [path for path in (user.home / "work").rglob("*") if path.name.startswith((".pytest", "__pycache__"))]


def test_without_sudo_lab_run_needs_no_root_and_pytest_says_that_it_does(user: User) -> None:
    (user.home / "work").mkdir()
    write(user.home / "work", HOLDS)
    ran = acts(user, scenarios="test_mine.py")
    assert ran.status == 0, ran.log
    assert {path.stat().st_uid for path in Path(ran.outputs["report"]).rglob("*")} == {user.uid}
    ran = acts(user, pytest="test_mine.py")
    assert ran.status == 2
    assert "pytest needs root for labs, and sudo is not here or asks for a password" in ran.told("error")[0].text


@pytest.mark.soak
def test_without_an_interpreter_lab_is_installed_in_a_venv_of_the_runners(workspace: Path, tmp_path: Path) -> None:
    well("new", workspace / "begun")
    ran = runner.run(workspace, tmp_path, {"pytest": "-n 2 begun", "packages": "pytest-xdist"})
    assert ran.status == 0, ran.log
    assert len(junit.read(Path(ran.outputs["junit"]))) == 2
    assert (tmp_path / "lab-venv" / "bin" / "lab").exists()
    assert [each.text.split()[-1] for each in ran.told("group")][-2:] == ["pytest-xdist", "--install"]


# -- action.yml itself


def test_the_file_is_as_the_schema_of_actions_has_it() -> None:
    """github.com/SchemaStore, github-action.json: the keys of a composite action and of its steps."""
    action = runner.action()
    assert (
        {"name", "description", "runs"}
        <= action.keys()
        <= {"name", "author", "description", "branding", "inputs", "outputs", "runs"}
    )
    assert action["branding"].keys() <= {"icon", "color"}
    for name, each in action["inputs"].items():
        assert re.fullmatch(r"[a-z][a-z-]*", name)
        assert each["description"]
        assert each.keys() <= {"description", "default", "required", "deprecationMessage"}
        assert isinstance(each["default"], str)
    for each in action["outputs"].values():
        assert each.keys() == {"description", "value"}
    assert action["runs"].keys() == {"using", "steps"}
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "run" in step:
            assert step["shell"] == "bash"
            assert step.keys() <= {"id", "name", "if", "shell", "run", "env", "working-directory", "continue-on-error"}
        else:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            assert step.keys() <= {"id", "name", "if", "uses", "with", "env", "continue-on-error"}


def test_no_expression_is_in_the_text_of_a_script_and_every_input_is_handed_on() -> None:
    action = runner.action()
    (step,) = [step for step in action["runs"]["steps"] if "run" in step]
    assert "${{" not in step["run"]
    assert len(step["run"].splitlines()) == 1
    handed = {f"INPUT_{name.upper().replace('-', '_')}": f"${{{{ inputs.{name} }}}}" for name in action["inputs"]}
    assert {**step["env"], "INPUT_ARTIFACT": "${{ inputs.artifact }}"} == handed


def test_the_kernel_that_is_fetched_is_the_default_one() -> None:
    assert runner.action()["inputs"]["kernels"]["default"] == kernels.DEFAULT


def test_the_workflow_of_lab_new_gives_inputs_that_there_are(tmp_path: Path) -> None:
    well("new", tmp_path / "a")
    workflow = yaml.safe_load((tmp_path / "a" / ".github/workflows/lab.yml").read_text())
    given = workflow["jobs"]["scenarios"]["steps"][-1]["with"]
    ran = runner.run(tmp_path / "a", tmp_path, {"python": sys.executable, "install": "false", **given})
    assert (ran.status, ran.summary.splitlines()[0]) == (0, "### ✅ lab: 2 held"), ran.log
