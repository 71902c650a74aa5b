"""Checks whose kernel features lack here are made in a guest, in one boot, and are part of one report.

User-mode Linux is the kernel, since it boots in two seconds; what it can do is found out once for all tests.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.commands import Said, lab

from lab.substrate import features

pytestmark = pytest.mark.root

SECONDS = 150.0
CHECKS = '''
    """What lacks here."""
    import os
    import pytest

    @pytest.mark.lab("alone.yaml")
    def test_here(lab):
        """This kernel has a veth."""
        assert "LAB_GUEST" not in os.environ

    @pytest.mark.lab("lacking.yaml")
    def test_there(lab, report_table):
        """The other has what the topology asks for."""
        report_table("where", ("release",), [(os.uname().release,)])
        assert "LAB_GUEST" in os.environ

    @pytest.mark.needs("{lacking}")
    @pytest.mark.lab("alone.yaml")
    def test_there_as_well(lab):
        """The other has what the marker asks for."""
        assert os.environ["LAB_GUEST"] == "no kernel is called so"

    @pytest.mark.needs("tcp_ao")
    @pytest.mark.lab("alone.yaml")
    def test_nowhere(lab):
        """No kernel that is here has TCP-AO."""
'''
KINDS = {"dummy": "kind: dummy", "vrf": "kind: vrf, table: 10", "bond": "kind: bond"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One that has User-mode Linux alone."""
    path = tmp_path_factory.mktemp("cache")
    said = lab("kernels", "fetch", "uml-6.1", timeout=SECONDS, env={"LAB_CACHE": str(path)})
    assert said.status == 0, said.stderr
    yield path


@pytest.fixture(scope="module")
def lacking() -> str:
    """A kind of device that this kernel lacks, and User-mode Linux has."""
    found = sorted(features.missing(KINDS))
    if not found:
        pytest.skip("this kernel lacks nothing that could be sent elsewhere")
    return found[0]


@pytest.fixture
def run(tmp_path: Path, cache: Path, lacking: str) -> Callable[..., Said]:
    (tmp_path / "alone.yaml").write_text("name: alone\nnodes: {a: {}}\n")
    topology = f"name: lacking\nnodes:\n  a:\n    interfaces:\n      x0: {{{KINDS[lacking]}}}\n"
    (tmp_path / "lacking.yaml").write_text(topology)
    (tmp_path / "test_it.py").write_text(textwrap.dedent(CHECKS).lstrip("\n").format(lacking=lacking))

    def ran(*words: str, **more: str) -> Said:
        env = {"LAB_CACHE": str(cache), **more}
        return lab("run", "./test_it.py", *words, timeout=SECONDS, cwd=tmp_path, env=env)

    return ran


def outcomes(said: Said) -> dict[str, tuple[str, bool]]:
    """Check -> its outcome, and whether it was made on another kernel."""
    here = os.uname().release
    return {check["name"]: (check["outcome"], check["kernel"] != here) for check in said.json("run")["checks"]}


def test_those_that_lack_something_are_made_in_one_guest_and_reported_as_one_run(
    run: Callable[..., Said], tmp_path: Path
) -> None:
    said = run("-f", "json", "--report", "report", "-j", "2")
    assert said.status == 1, said.stderr
    assert said.stderr.count("in a guest with") == 1
    assert "lab: 2 checks need" in said.stderr
    assert outcomes(said) == {
        "test_here": ("held", False),
        "test_nowhere": ("skipped", False),
        "test_there": ("held", True),
        "test_there_as_well": ("failed", True),
    }
    data = said.json("run")
    (where,) = [check["tables"]["where"]["rows"] for check in data["checks"] if check["name"] == "test_there"]
    assert where[0][0].startswith("6.1")
    (failed,) = [check for check in data["checks"] if check["outcome"] == "failed"]
    assert "no kernel is called so" in failed["message"]
    assert "topology as deployed" in failed["evidence"]
    _report(tmp_path / "report", data)


def _report(folder: Path, data: object) -> None:
    assert json.loads((folder / "run.json").read_text())["data"] == data
    suites = list(ElementTree.parse(folder / "junit.xml").getroot())
    assert [suite.get("tests") for suite in suites] == ["1", "3"]
    page = (folder / "index.html").read_text()
    assert page.count("in a guest, Linux 6.1") == 2
    assert "No kernel that is here has TCP-AO" in page


def test_what_the_kernel_of_a_guest_can_do_is_remembered(run: Callable[..., Said], cache: Path) -> None:
    """Where nothing is left to send, no guest boots."""
    run("--kernel", "host")
    (remembered,) = cache.rglob("features-uml-*.json")
    before = remembered.stat().st_mtime_ns
    assert run("-q").stderr == ""
    assert remembered.stat().st_mtime_ns == before


def test_kernel_host_forbids_it_with_the_reason(run: Callable[..., Said]) -> None:
    said = run("--kernel", "host", "-f", "json")
    assert {outcome for name, (outcome, _) in outcomes(said).items() if name != "test_here"} == {"skipped"}
    assert "guest with" not in said.stderr
    messages = {check["message"] for check in said.json("run")["checks"] if check["outcome"] == "skipped"}
    assert all("--kernel host forbids a guest, which might have it" in message for message in messages)


def test_where_no_kernel_was_fetched_the_command_is_named(run: Callable[..., Said], tmp_path: Path) -> None:
    said = run("-f", "json", LAB_CACHE=str(tmp_path / "empty"))
    messages = [check["message"] for check in said.json("run")["checks"] if check["name"] == "test_there"]
    assert "lab kernels fetch 6.1" in messages[0]


def test_a_feature_that_there_is_not_is_a_wrong_call(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "test_it.py").write_text('import pytest\n@pytest.mark.needs("vlam")\ndef test_it(): ...\n')
    said = lab("run", "./test_it.py", cwd=tmp_path, env={"LAB_CACHE": str(cache)})
    assert said.status == 2
    assert "there is no feature vlam" in said.stdout + said.stderr


def test_a_parameter_of_those_that_were_sent_is_known(run: Callable[..., Said], tmp_path: Path) -> None:
    said = run("--set", "unknown=1", "--kernel", "host")
    assert said.status == 2
    topology = (tmp_path / "lacking.yaml").read_text()
    (tmp_path / "lacking.yaml").write_text(f"params: {{members: 1}}\n---\n{topology}")
    (tmp_path / "test_it.py").write_text((tmp_path / "test_it.py").read_text().split("    @pytest.mark.needs")[0])
    said = run("--set", "members=2", "-f", "json", "--slow")
    assert outcomes(said)["test_there"] == ("held", True), said.stderr


# -- many kernels

DIFFERS = '''
    """What differs."""
    import os

    def test_old():
        """The kernel is of series 6.1."""
        assert os.uname().release.startswith("6.1.")

    def test_any():
        """It is Linux."""
        assert os.uname().sysname == "Linux"
'''


def test_a_matrix_says_between_which_kernels_a_verdict_changes(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "test_it.py").write_text(textwrap.dedent(DIFFERS).lstrip("\n"))
    words = ("matrix", "./test_it.py", "--kernels", "host,uml", "--report", "report", "-f", "json")
    said = lab(*words, timeout=SECONDS, cwd=tmp_path, env={"LAB_CACHE": str(cache)})
    assert said.status == 1, said.stderr
    data = said.json("matrix")
    old, new = [kernel["release"] for kernel in data["kernels"]]
    assert (old.startswith("6.1."), new) == (True, os.uname().release)
    (difference,) = data["differences"]
    assert (difference["name"], difference["older"], difference["newer"]) == ("test_old", old, new)
    (scenario,) = data["scenarios"]
    assert {release: each["verdict"] for release, each in scenario["verdicts"].items()} == {old: "pass", new: "fail"}
    folder = tmp_path / "report"
    assert json.loads((folder / "matrix.json").read_text())["data"] == data
    assert [suite.get("failures") for suite in ElementTree.parse(folder / "junit.xml").getroot()] == ["0", "1"]
    assert "Where verdicts differ" in (folder / "index.html").read_text()
    assert (folder / old / "index.html").exists()


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("no-such", "--kernels", "host"), 2, "there is no scenario 'no-such'"),
        (("rp-filter", "--kernels", "six"), 2, "no kernel can be called 'six'"),
        (("rp-filter", "--kernels", "5.4,host"), 3, "lab kernels fetch 5.4"),
        (("rp-filter", "--kernels", ","), 2, "no kernel is named"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused_before_anything_boots(
    words: tuple[str, ...], status: int, why: str, cache: Path
) -> None:
    said = lab("matrix", *words, env={"LAB_CACHE": str(cache)})
    assert (said.status, why in said.stderr) == (status, True), said.stderr


@pytest.mark.soak
@pytest.mark.parametrize(
    ("scenario", "older", "newer", "differing"),
    [
        ("syn-retries", "6.1", "6.12", "test_the_first_retransmissions_come_a_second_apart"),
        ("neighbour-carrier", "5.10", "6.1", "test_the_setting_keeps_them"),
    ],
)
def test_a_shipped_experiment_shows_a_difference_between_kernels(scenario: str, older: str, newer: str, differing: str) -> None:
    """Linear time-outs came with 6.5, arp_evict_nocarrier with 5.16. Kernels are those of the user's cache, or fetched."""
    assert lab("kernels", "fetch", older, newer, timeout=SECONDS).status == 0
    said = lab("matrix", scenario, "--kernels", f"{older},{newer}", "-f", "json", timeout=400)
    (difference,) = said.json("matrix")["differences"]
    assert (difference["name"], difference["before"], difference["after"]) == (differing, "fail", "pass")
    assert difference["older"].startswith(f"{older}.")
    assert difference["newer"].startswith(f"{newer}.")
