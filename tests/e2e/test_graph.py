"""`lab graph`: a file, a shipped topology and a living lab, each as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import LAB, lab, well
from support.privilege import without_privilege

Write = Callable[[str], Path]
PAIR = "name: {name}\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, b], addresses: {{a: 10.0.0.1/24}}}}]\n"


def test_a_shipped_topology_is_an_svg_on_stdout() -> None:
    said = well("graph", "two-hosts")
    assert said.stdout.lstrip().startswith("<svg")
    assert "2001:db8::1/64" in said.stdout


def test_a_file_goes_where_o_says_with_its_parameters(tmp_path: Path) -> None:
    out = tmp_path / "out.mmd"
    assert well("graph", "office", "--set", "pcs=3", "--format", "mermaid", "-o", out).stdout == ""
    assert all(f'"pc{number}<br/>' in out.read_text() for number in (1, 2, 3))


def test_the_call_is_wrong_where_there_is_no_such_thing_or_it_cannot_be_written(tmp_path: Path) -> None:
    assert lab("graph", "two-hots").status == 2
    said = lab("graph", "two-hosts", "-o", tmp_path / "nowhere" / "x.svg")
    assert (said.status, "cannot be written" in said.stderr) == (2, True)


def test_a_shipped_topology_needs_no_privilege() -> None:
    assert without_privilege(*LAB, "graph", "two-hosts").returncode == 0


@pytest.mark.root
def test_a_living_lab_shows_what_is_down_and_the_addresses_of_now(topology: Write, name: str) -> None:
    well("up", topology(PAIR))
    try:
        assert "down" not in well("graph", name, "--format", "mermaid").stdout
        well("exec", name, "b", "--", "ip", "link", "set", "eth0", "down")
        well("exec", name, "a", "--", "ip", "address", "add", "10.0.0.9/24", "dev", "eth0")
        found = well("graph", name).stdout
        assert "eth0: down" in found
        assert "stroke-dasharray" in found
        assert "10.0.0.9/24" in found
        assert lab("graph", name, "--set", "x=1").status == 2
    finally:
        well("down", name)
