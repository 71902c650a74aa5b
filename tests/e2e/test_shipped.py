"""What is shipped and what the README shows: every topology is well formed, drawn, accepted by the schema, and comes up."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest
import yaml

from lab import HostError, Lab
from lab.live import unique_name
from lab.model.schema import schema
from lab.topology.shipped import shipped_topologies

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(shipped_topologies().items())
README = (ROOT / "README.md").read_text()


def readme_topology() -> str:
    """The indented block below «A topology»."""
    section = README.split("## A topology")[1].split("## From Python")[0]
    return first_block(section)


def first_block(text: str) -> str:
    """The first indented block, unindented."""
    found = re.search(r"(?:^(?:    .*)?\n)*^    .*\n", text, re.MULTILINE)
    assert found
    return textwrap.dedent(found[0].split("\n\n\n")[0])


@pytest.mark.parametrize(("name", "path"), SHIPPED)
def test_a_shipped_topology_is_headed_by_its_diagram(name: str, path: Path) -> None:
    comments = [line for line in path.read_text().split("\nname:")[0].splitlines() if line.startswith("#   ")]
    assert len(comments) >= 3, f"{name} has no diagram above its nodes"


@pytest.mark.parametrize(("name", "path"), [*SHIPPED, ("README", ROOT / "README.md")])
def test_the_schema_takes_what_an_editor_sees_before_rendering(name: str, path: Path) -> None:
    text = readme_topology() if name == "README" else path.read_text()
    for document in yaml.safe_load_all(text):
        jsonschema.validate(document, schema())


def test_the_schema_refuses_a_key_that_nobody_knows() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "x", "nodes": {"a": {"interfces": {}}}}, schema())


def test_the_topology_of_the_readme_is_valid(tmp_path: Path) -> None:
    (tmp_path / "office.yaml").write_text(readme_topology())
    argv = [sys.executable, "-m", "lab", "validate", str(tmp_path / "office.yaml"), "--set", "members=5"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout.split(": ")[1]) == (0, "office is well"), done.stderr


def test_every_command_that_the_readme_names_exists() -> None:
    from lab.cli.app import cli

    called = r"(?:^    (?:\$ sudo )?|`|; )lab (?:--kernel \S+ )?(?:--untrusted )?([a-z-]+)(?=[ `\n])"
    named = set(re.findall(called, README, re.MULTILINE))
    named -= {name for name, _ in SHIPPED}  # the answer of `lab up` begins so too
    assert {"up", "down", "run"} <= named <= set(cli.commands), named - set(cli.commands)


@pytest.mark.root
def test_the_readmes_python_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from lab.observe.conditions import Carrier

    (tmp_path / "office.yaml").write_text(readme_topology())
    monkeypatch.chdir(tmp_path)
    code = first_block(README.split("## From Python")[1].split("With the package")[0])
    names = {"socket": socket, "Carrier": Carrier}
    exec(compile(code, "README.md", "exec"), names)
    names["sock"].close()  # type: ignore[attr-defined]
    assert names["before"] == 0


@pytest.mark.root
@pytest.mark.parametrize(("name", "path"), SHIPPED)
def test_a_shipped_topology_comes_up_and_goes_without_a_trace(name: str, path: Path) -> None:
    try:
        lab = Lab.up(name, name=unique_name(name))
    except HostError as error:
        assert "this kernel has no" in str(error)
        return
    with lab:
        home = lab.directory
        assert all(node.run(["ip", "link", "show", "lo"]).status == 0 for node in lab)
    assert not home.exists()
