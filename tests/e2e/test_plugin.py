"""The pytest plugin in a project of the user's own: labs for its tests, and nothing at all for those that ask for none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import LAB, SECONDS, well
from support.privilege import without_privilege
from support.world import NETNS, run_directory

pytestmark = pytest.mark.root

PAIR = """
params: {first: 1, prefix: 10.0.0}
---
name: pair
nodes: {a: {}, b: {}}
links: [{endpoints: [a, b], addresses: {a: "{{ prefix }}.{{ first }}/24", b: "{{ prefix }}.2/24"}}]
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Run:
    """Writes a test file two folders below the project, the topology `pair.yaml` beside it, and runs plain pytest."""

    def run(tests: str, *words: str, file: str = "tests/net/test_net.py") -> subprocess.CompletedProcess[str]:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import pytest\nfrom pathlib import Path\n" + textwrap.dedent(tests))
        (path.parent / "pair.yaml").write_text(PAIR)
        argv = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, check=False)

    return run


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r" in .*", "", done.stdout.splitlines()[-1].strip("= "))


# -- labs


def test_a_topology_is_found_beside_the_test_file_and_takes_the_markers_parameters(project: Run) -> None:
    done = project("""
        @pytest.mark.lab("pair.yaml", first=7)
        def test_it(lab):
            assert "10.0.0.7/24" in lab["a"].run(["ip", "address"]).stdout
            assert lab["b"].run(["ping", "-c1", "-W2", "10.0.0.7"]).status == 0
    """)
    assert outcome(done) == "1 passed", done.stdout


def test_a_shipped_topology_is_found_by_its_name(project: Run) -> None:
    done = project("""
        @pytest.mark.lab("rp-filter", first="b")
        def test_it(lab):
            assert lab.record.params["first"] == "b"
    """)
    assert outcome(done) == "1 passed", done.stdout


def test_every_test_has_a_lab_of_its_own(project: Run) -> None:
    done = project("""
        seen = []

        @pytest.mark.lab("pair.yaml")
        @pytest.mark.parametrize("turn", range(2))
        def test_it(lab, turn):
            assert lab["a"].sysctl["net.ipv4.ip_default_ttl"] == "64"
            lab["a"].sysctl["net.ipv4.ip_default_ttl"] = "33"
            assert lab.name not in seen
            assert not [link for name in seen for link in Path("/run/netns").glob(f"{name}.*")]
            seen.append(lab.name)
    """)
    assert outcome(done) == "2 passed", done.stdout


def test_what_is_set_on_the_command_line_overrides_the_marker_where_the_topology_knows_it(project: Run) -> None:
    done = project(
        """
        @pytest.mark.lab("pair.yaml", first=7, prefix="10.9.9")
        def test_it(lab):
            assert lab.record.params == {"first": 5, "prefix": "10.9.9"}

        @pytest.mark.lab("rp-filter")
        def test_another(lab):
            assert lab.record.params["first"] == "a"
        """,
        "--lab-set=first=5",
        "--deselect=tests/net/test_net.py::test_another",
    )
    assert outcome(done) == "1 passed, 1 deselected", done.stdout


def test_a_parameter_that_no_selected_test_knows_is_an_error_of_usage(project: Run) -> None:
    done = project('@pytest.mark.lab("pair.yaml")\ndef test_it(lab): ...', "--lab-set=last=5")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no selected test's topology has a parameter 'last': they have first, prefix" in done.stderr


def test_what_is_no_assignment_is_an_error_of_usage(project: Run) -> None:
    done = project('@pytest.mark.lab("pair.yaml")\ndef test_it(lab): ...', "--lab-set=last")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--lab-set 'last' is not KEY=VALUE" in done.stderr


@pytest.mark.parametrize("marker", ["", "@pytest.mark.lab()", "@pytest.mark.lab('a', 'b')"])
def test_a_test_that_does_not_say_which_topology_is_told_how(project: Run, marker: str) -> None:
    done = project(f"{marker}\ndef test_it(lab): ...")
    assert outcome(done) == "1 error"
    assert "write @pytest.mark.lab(topology, parameter=value, …) above it" in done.stdout


def test_a_topology_with_a_mistake_is_an_error_at_its_place_in_the_file(project: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: wrong\nnodes: {a: {knid: switch}}\n")
    done = project('@pytest.mark.lab("../../wrong.yaml")\ndef test_it(lab): ...')
    assert outcome(done) == "1 error"
    assert "wrong.yaml:2:13: " in done.stdout


# -- failures


FAILS = """
    @pytest.mark.lab("pair.yaml")
    def test_it(lab):
        lab["b"].run(["ping", "-c1", "-W2", "10.0.0.1"])
        assert not "with this evidence"
"""


def test_the_report_of_a_failed_test_has_the_evidence_in_sections(project: Run) -> None:
    shown = project(FAILS).stdout
    sections = re.findall(r"^-+ lab: (.+?) -+$", shown, re.MULTILINE)
    assert sections == [
        "lab",
        "addresses",
        "routes",
        "neighbours",
        "counters that moved",
        "topology as deployed",
        "what was done",
    ]
    for wanted in ("10.0.0.2/24", "10.0.0.0/24 src 10.0.0.1 dev eth0", "IcmpInEchos 1", os.uname().release, "b: run ping "):
        assert wanted in shown


def test_a_test_that_passes_has_no_sections(project: Run) -> None:
    assert "lab: " not in project('@pytest.mark.lab("pair.yaml")\ndef test_it(lab): ...', "-rA").stdout


def test_a_failed_lab_is_kept_where_that_was_asked_for_and_the_commands_get_in(project: Run) -> None:
    shown = project(FAILS, "--lab-keep-on-failure").stdout
    execute = next(line.split() for line in shown.splitlines() if line.startswith("lab exec pair-"))
    assert "10.0.0.1/24" in well(*execute[1:]).stdout
    well("down", execute[2])


def test_what_another_fixture_breaks_while_the_lab_is_up_has_the_evidence_too(project: Run) -> None:
    done = project("""
        @pytest.fixture
        def broken(lab):
            raise RuntimeError("the fixture")

        @pytest.mark.lab("pair.yaml")
        def test_it(broken): ...
    """)
    assert outcome(done) == "1 error"
    assert "lab: routes" in done.stdout


def test_a_test_may_take_its_lab_down_itself_and_a_failure_after_that_is_still_reported(project: Run) -> None:
    done = project("""
        @pytest.mark.lab("pair.yaml")
        def test_it(lab):
            lab.down()

        @pytest.mark.lab("pair.yaml")
        def test_another(lab):
            lab.down()
            assert not "this one"
    """)
    assert outcome(done) == "1 failed, 1 passed", done.stdout
    assert "could not be read: FileNotFoundError" in done.stdout


def test_a_leak_is_an_error_of_a_test_that_passed(project: Run) -> None:
    done = project("""
        @pytest.mark.lab("pair.yaml")
        def test_it(lab):
            Path("/run/netns", lab.name + "-leak").symlink_to(lab["a"].ns)
    """)
    try:
        assert outcome(done) == "1 passed, 1 error"
        assert re.search(r"pair-\w+-leak still leads into the lab", done.stdout)
    finally:
        for link in NETNS.glob("pair-*-leak"):
            if run_directory() in link.readlink().parents:
                link.unlink()


def test_without_privilege_the_test_is_skipped_with_the_reason(project: Run, tmp_path: Path) -> None:
    project("@pytest.mark.lab('pair.yaml')\ndef test_it(lab): ...", "--collect-only")
    done = without_privilege(sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", cwd=tmp_path)
    assert outcome(done) == "1 skipped", done.stdout + done.stderr
    assert "making namespaces and mounts needs root" in done.stdout


# -- everybody else


UNRELATED = """
    import sys

    @pytest.fixture
    def lab():
        return "a laboratory of another kind"

    def test_it(lab, pytestconfig):
        assert lab == "a laboratory of another kind"
        assert pytestconfig.pluginmanager.hasplugin("lab")
        ours = {name for name in sys.modules if name == "lab" or name.startswith("lab.")}
        assert ours == {"lab", "lab.pytest_plugin"}
        assert not {"pydantic", "pyroute2", "yaml", "jinja2", "rich"} & set(sys.modules)
"""


def test_a_project_without_labs_keeps_its_own_fixtures_and_loads_nothing_of_ours(project: Run) -> None:
    done = project(UNRELATED, "--strict-markers", "--strict-config")
    assert outcome(done) == "1 passed", done.stdout


def test_a_failure_in_a_project_without_labs_is_reported_as_ever(project: Run) -> None:
    done = project("def test_it():\n    assert False")
    assert outcome(done) == "1 failed"
    assert "lab: " not in done.stdout


def test_the_marker_is_known_to_a_strict_project(project: Run) -> None:
    done = project('@pytest.mark.lab("pair.yaml")\ndef test_it(): ...', "--strict-markers")
    assert outcome(done) == "1 passed", done.stdout


def test_the_same_file_runs_under_lab_run(project: Run, tmp_path: Path) -> None:
    project('@pytest.mark.lab("pair.yaml")\ndef test_it(lab):\n    """It is up."""', "--collect-only")
    done = subprocess.run([*LAB, "run", "tests"], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout.splitlines()[:1]) == (0, ["tests/net/test_net.py"])
    assert "✓ It is up" in done.stdout
