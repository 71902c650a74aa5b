"""Topology files of containerlab's, through the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import lab, well

from lab.live import unique_name
from lab.recipe import read

WRONG = """\
name: wrong
topology:
  defaults:
    kind: linux
    image: tools:1
  nodes:
    a:
      ports: ["8080:80"]
      binds: ["/etc/passwd:/etc/passwd:ro"]
    srl:
      kind: nokia_srlinux
    br:
      kind: bridge
  links:
    - endpoints: ["a:eth1", "host:veth0"]
    - endpoints: ["br:a-name-that-is-too-long", "br:p2"]
    - endpoints: ["srl:e1-1", "a:eth2"]
"""
BRIDGES = """\
name: {name}
mgmt: {{network: outside}}
topology:
  nodes:
    br1: {{kind: bridge}}
    br2: {{kind: bridge}}
  links:
    - endpoints: ["br1:trunk", "br2:trunk"]
      mtu: ${{TRUNK_MTU:=2000}}
"""


@pytest.fixture
def bridges(tmp_path: Path) -> Path:
    file = tmp_path / "bridges.clab.yml"
    file.write_text(BRIDGES.format(name=unique_name("clab")))
    return file


def test_everything_that_is_not_covered_is_told_at_once_with_line_column_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "wrong.clab.yml"
    file.write_text(WRONG)
    said = lab("validate", file)
    assert said.status == 2
    for told in (
        "8:7: node a: ports is not covered: no port of the host is published: a lab is hermetic\n    remove it; ask from",
        "9:15: the bind of '/etc/passwd' is not covered: it lies outside the topology's folder\n    put the file beside",
        "11:13: node srl: the kind 'nokia_srlinux' is not covered: lab runs no such systems\n    covered are linux, bridge",
        "15:29: a link to host is not covered: it ends in the host\n    remove it",
        "16:19: interface name 'a-name-that-is-too-long' has 23 characters; the kernel allows 15",
    ):
        assert f"{file}:{told}" in said.stderr
    places = [
        tuple(map(int, line.removeprefix(f"{file}:").split(":")[:2])) for line in said.stderr.splitlines() if str(file) in line
    ]
    assert places == sorted(places), "in the order of the file"
    assert not [place for place in places if place[0] == 17], "a link to what is not covered is no fault of its own"


def test_what_has_no_effect_is_noted_and_the_file_is_well(bridges: Path) -> None:
    said = well("validate", bridges)
    assert "is well: 2 nodes, 1 link" in said.stdout
    assert f"lab: {bridges}:2:1: mgmt has no effect: there is no management network" in said.stderr
    assert f"lab: {bridges}:4:3: bridges are switches of the lab, not of the host" in said.stderr
    quiet = well("validate", bridges, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    data = well("validate", bridges, "-f", "json").json("topology")
    assert (data["nodes"], data["links"], len(data["notes"])) == (2, 1, 2)


def test_a_template_of_gos_is_refused_with_the_way_to_render_it(tmp_path: Path) -> None:
    file = tmp_path / "x.clab.gotmpl"
    file.write_text("name: x\ntopology:\n  nodes:\n{{ range .nodes }}\n    {{ . }}: {kind: linux}\n{{ end }}\n")
    said = lab("validate", file)
    assert said.status == 2
    assert f"{file}:4:1: templates of Go are not covered\n    render it first, by containerlab deploy" in said.stderr


def test_its_variables_come_from_the_environment_and_from_set(bridges: Path) -> None:
    assert "mtu: 2000" in well("render", bridges).stdout
    assert "mtu: 3000" in lab("render", bridges, env={"TRUNK_MTU": "3000"}).stdout
    assert "mtu: 4000" in lab("render", bridges, "--set", "TRUNK_MTU=4000", env={"TRUNK_MTU": "3000"}).stdout
    said = lab("validate", bridges, "--set", "TRUNK_MUT=1")
    assert said.status == 2
    assert "has no variable 'TRUNK_MUT'\n    did you mean 'TRUNK_MTU'?" in said.stderr


def test_render_prints_the_same_topology_in_our_own_language(bridges: Path) -> None:
    own = bridges.with_name("own.yaml")
    own.write_text(well("render", bridges).stdout)
    assert well("plan", own).stdout == well("plan", bridges).stdout
    assert "notes" not in well("validate", own).stderr


SCENARIO = """
import pytest

def mtu(lab):
    return lab["br1"].run(["cat", "/sys/class/net/trunk/mtu"]).stdout.strip()

@pytest.mark.lab("bridges.clab.yml", TRUNK_MTU=3000)
def test_the_marker_gives_the_variable_its_value(lab):
    assert mtu(lab) == "3000"

@pytest.mark.lab("bridges.clab.yml")
def test_the_environment_gives_the_variable_its_value(lab):
    assert mtu(lab) == "4000"
"""


@pytest.mark.root
def test_a_scenario_runs_on_it_with_variables_of_its_own(bridges: Path) -> None:
    scenario = bridges.with_name("test_bridges.py")
    scenario.write_text(SCENARIO)
    said = lab("run", scenario, env={"TRUNK_MTU": "4000"})
    assert said.status == 0, said.stdout
    said = lab("run", f"{scenario}::test_the_environment_gives_the_variable_its_value", "--set", "TRUNK_MTU=4000")
    assert said.status == 0, said.stdout


def test_an_ovs_bridge_is_a_switch_with_its_own_daemons(tmp_path: Path) -> None:
    file = tmp_path / "o.clab.yml"
    file.write_text(
        "name: o\ntopology: {nodes: {o: {kind: ovs-bridge}, b: {kind: bridge}}, links: [{endpoints: [o:b, b:o]}]}\n"
    )
    recipe = read(file)
    assert [service.name for service in recipe.services] == ["ovsdb-server", "ovs-vswitchd"]


@pytest.fixture
def up(own_run_directory: Path, bridges: Path) -> Iterator[str]:
    said = well("up", bridges, "-f", "json")
    assert "mgmt has no effect" in said.stderr
    name = said.json("lab")["name"]
    yield name
    well("down", name)


@pytest.mark.root
def test_up_makes_its_bridges_and_links_in_the_lab_and_nothing_on_the_host(up: str, bridges: Path) -> None:
    bridges.unlink()  # what was deployed is what counts
    said = well("exec", up, "br1", "--", "ip", "-o", "link", "show", "trunk").stdout
    assert " mtu 2000 " in said
    assert " master br0 " in said
    assert "LOWER_UP" in said
    assert "br2" in well("graph", up).stdout
