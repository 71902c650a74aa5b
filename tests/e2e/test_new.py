"""`lab new`: what it writes holds as it stands, by `lab run` and by pytest; and it changes nothing that is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.commands import SECONDS, lab, well

from lab import __version__

pytestmark = pytest.mark.root

RUN = 120.0  # seconds for two checks on a busy machine, one of which waits two
WRITTEN = ["network.yaml", "test_network.py", ".github/workflows/lab.yml"]


def test_the_start_holds_by_lab_run_and_by_pytest(tmp_path: Path) -> None:
    folder = tmp_path / "my network" / "first"
    said = well("new", folder)
    assert said.stdout.splitlines() == [*(f"{folder}/{name}" for name in WRITTEN), f"next: lab run '{folder}'"]
    said = lab("run", folder, timeout=RUN)
    assert (said.status, said.stdout.splitlines()[-1][:9]) == (0, "2 held, i"), said.stdout
    argv = [sys.executable, "-m", "pytest", "--strict-markers", "-W", "error"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=RUN, check=False)
    assert re.search(r"^=+ 2 passed", done.stdout, re.MULTILINE), done.stdout


def test_its_claims_can_fail(tmp_path: Path) -> None:
    """Where the cause is taken away from both, what it brings about is not there; where it is there in both, it is."""
    well("new", tmp_path / "a")
    for forwarding, failed in ((0, "test_the_client_reaches_the_server"), (1, "test_without_forwarding_the_router_refuses")):
        said = lab("run", tmp_path / "a", "--set", f"forwarding={forwarding}", "-f", "json", timeout=RUN)
        outcomes = {check["name"]: check["outcome"] for check in said.json("run")["checks"]}
        assert [name for name, outcome in outcomes.items() if outcome == "failed"] == [failed]


def test_the_topology_is_headed_by_a_diagram_and_well(tmp_path: Path) -> None:
    well("new", tmp_path / "a")
    head = (tmp_path / "a" / "network.yaml").read_text().partition("params:")[0]
    assert all(f" {word}" in head for word in ("client", "router", "server", "───"))
    assert "3 nodes, 2 links" in well("validate", tmp_path / "a" / "network.yaml").stdout


def test_the_workflow_runs_this_version_of_the_action_on_the_scenario(tmp_path: Path) -> None:
    well("new", tmp_path / "a")
    workflow = yaml.safe_load((tmp_path / "a" / WRITTEN[2]).read_text())
    steps = workflow["jobs"]["scenarios"]["steps"]
    assert steps[-1]["uses"].endswith(f"@v{__version__}")


def test_json_names_what_was_written(tmp_path: Path) -> None:
    data = well("new", tmp_path / "a", "-f", "json").json("new")
    assert data == {"folder": f"{tmp_path}/a", "files": [f"{tmp_path}/a/{name}" for name in WRITTEN]}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert well("new", tmp_path, "-q").stdout == ""
    assert all((tmp_path / name).is_file() for name in WRITTEN)


@pytest.mark.parametrize("there", ["notes.txt", ".hidden", "network.yaml"])
def test_a_folder_that_is_not_empty_is_refused_and_stays_as_it_is(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    said = lab("new", tmp_path)
    assert said.status == 2
    assert f"{tmp_path} is not empty: it has {there}" in said.stderr
    assert "name an empty folder, or a new one" in said.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert lab("new", path).status == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_be_written_whole_is_undone(tmp_path: Path) -> None:
    """No file may be longer than the first one, which the second one is (setrlimit(2), RLIMIT_FSIZE)."""
    (tmp_path / "b").mkdir()
    run = (
        "import resource, runpy, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); runpy.run_module('lab', run_name='__main__')"
    )
    for folder in (tmp_path / "a" / "deep", tmp_path / "b"):
        argv = [sys.executable, "-c", run, "new", str(folder)]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, env=env, check=False)
        assert done.returncode == 2
        assert f"{folder} cannot be written: File too large" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["b"]
