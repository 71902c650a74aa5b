"""Pictures: what a topology shows, that nothing of the user's becomes syntax, and what the SVG of them is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab import recipe
from lab.drawing import dot, mermaid, picture, svg
from lab.drawing.order import directed
from lab.drawing.picture import Box, Cable, Device, End, Picture
from lab.errors import HostError
from lab.substrate.netlink.dump import LinkState, NamespaceState
from lab.topology.shipped import shipped_topologies

Write = Callable[[str], Path]
SVG = "{http://www.w3.org/2000/svg}"
OFFICE = """
name: office
nodes:
  lan: {kind: switch}
  gateway: {kind: router, interfaces: {lo: {addresses: 192.0.2.1/32}, up0: {kind: dummy, addresses: 198.51.100.1/24}}}
  pc: {interfaces: {eth0: {mtu: 9000}, eth0.7: {kind: vlan, parent: eth0, id: 7, addresses: 10.7.0.2/24}}}
links:
  - {endpoints: ["gateway:lan0", {node: lan, vlan: {trunk: [7, 9], native: 1}}], addresses: {gateway: "10.0.0.1/24"}}
  - {endpoints: ["pc:eth0", {node: lan, vlan: {access: 7}}], netem: {delay: 10ms, jitter: 2ms, loss: 1%, rate: 100mbit}}
"""
HOSTILE = '<script>alert("1")</script> & "]:::x -->\n--- n9 \\N \ue000'


def of(topology: Write, text: str = OFFICE) -> Picture:
    return picture.of(recipe.read(topology(text.replace("{", "{{").replace("}", "}}"))).topology)


def box(found: Picture, name: str) -> Box:
    return next(each for each in found.boxes if each.name == name)


def ends(found: Picture) -> dict[str, End]:
    return {str(end): end for cable in found.cables for end in (cable.near, cable.far)}


def hostile() -> Picture:
    """Names that no topology may have: what another stage would refuse is escaped all the same."""
    device = Device(HOSTILE, (HOSTILE,), (HOSTILE,), HOSTILE)
    boxes = (Box(HOSTILE, "host", (HOSTILE,), (device,)), Box("s", "switch", (), (device,)))
    return Picture(HOSTILE, boxes, (Cable(End(HOSTILE, device, (device,)), End("s", device)),))


def texts(drawn: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_a_picture_has_every_node_and_cable(topology: Write) -> None:
    found = of(topology)
    assert [(each.name, each.kind) for each in found.boxes] == [("lan", "switch"), ("gateway", "router"), ("pc", "host")]
    assert len(found.cables) == 2


def test_addresses_stand_at_the_ends_of_the_cables(topology: Write) -> None:
    assert ends(of(topology))["gateway:lan0"].device.addresses == ("10.0.0.1/24",)


def test_a_vlan_stands_upon_the_interface_that_carries_it(topology: Write) -> None:
    end = ends(of(topology))["pc:eth0"]
    assert end.above == (Device("eth0.7", ("VLAN 7",), ("10.7.0.2/24",)),)
    assert [each.name for each in box(of(topology), "pc").devices] == []


def test_the_vlans_of_a_port_its_mtu_and_its_impairments_are_told(topology: Write) -> None:
    found = ends(of(topology))
    assert found["lan:gateway-lan0"].device.about[:1] == ("VLANs 7, 9, native 1",)
    assert found["lan:pc-eth0"].device.about[:1] == ("VLAN 7",)
    assert found["pc:eth0"].device.about == ("MTU 9000", "10 ms ± 2 ms, loss 1 %, 100 Mbit/s")


def test_devices_without_a_cable_are_told_in_the_box_and_the_plain_loopback_is_not(topology: Write) -> None:
    assert box(of(topology), "gateway").devices == (
        Device("lo", (), ("192.0.2.1/32",)),
        Device("up0", ("dummy",), ("198.51.100.1/24",)),
    )
    assert box(of(topology), "lan").devices == ()


def link(name: str, state: str, *addresses: str) -> LinkState:
    return LinkState(name, 2, "veth", state, 1500, "02:00:00:00:00:01", "", addresses)


def test_of_a_living_lab_states_and_addresses_are_those_of_now(topology: Write) -> None:
    made = recipe.read(topology("name: x\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, b], prefix: 10.0.0.0/24}}]\n"))
    here = NamespaceState((link("eth0", "down", "10.0.0.9/24", "fe80::1/64 tentative"), link("tap0", "up")), (), ())
    found = picture.of(made.topology, {"a": here, "b": NamespaceState((), (), ())})
    (cable,) = found.cables
    assert not cable.works
    now = ends(found)
    assert now["a:eth0"].device == Device("eth0", (), ("10.0.0.9/24",), "down")
    assert now["b:eth0"].device.state == "gone"
    assert [each.name for each in box(found, "a").devices] == ["tap0"]


@pytest.mark.parametrize("name", shipped_topologies())
def test_every_shipped_topology_can_be_drawn_and_shows_all_its_names_and_addresses(name: str) -> None:
    found = picture.of(recipe.read(name).topology)
    shown = texts(svg.render(found))
    told = {each.name for each in found.boxes} | {text for end in ends(found).values() for text in end.device.addresses}
    assert told <= set(shown)
    assert all(each.name in mermaid.render(found) for each in found.boxes)


def test_a_link_that_is_down_looks_down(topology: Write) -> None:
    up, down = (Cable(End("a", Device("eth0")), End("b", Device("eth0", state=state))) for state in ("up", "down"))
    boxes = (Box("a", "host"), Box("b", "host"))
    works, broken = (svg.render(Picture("x", boxes, (cable,))) for cable in (up, down))
    assert ("stroke-dasharray" in works, "stroke-dasharray" in broken) == (False, True)
    assert "eth0: down" in texts(broken)
    assert "-.-" in mermaid.render(Picture("x", boxes, (down,)))


def test_a_hostile_text_is_shown_and_is_no_syntax_of_graphvizs() -> None:
    drawn = svg.render(hostile())
    root = ElementTree.fromstring(drawn)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg",
        "style",
        "g",
        "title",
        "text",
        "path",
        "polygon",
        "polyline",
    }
    assert any('<script>alert("1")</script> &' in text for text in texts(drawn))
    assert len([element for element in root.iter() if element.get("class") == "icon"]) == 2


def test_a_hostile_text_is_no_syntax_of_mermaids() -> None:
    node, switch, cable, *rest = mermaid.render(hostile()).splitlines()[1:]
    for line in (node, switch, cable):
        assert re.sub(r"<br/>|#\d+;", "", line).count('"') == 2
        assert "<script" not in line
    assert [line.split()[0] for line in rest] == ["classDef", "classDef", "linkStyle"]


def test_an_svg_has_neither_ids_nor_anything_that_is_fetched(topology: Write) -> None:
    root = ElementTree.fromstring(svg.render(of(topology)))
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name == "id" or "href" in name or "src" in name]


def test_cables_meet_a_switch_side_by_side() -> None:
    root = ElementTree.fromstring(svg.render(picture.of(recipe.read("office", {"pcs": 4}).topology)))
    groups = [group for group in root.iter(f"{SVG}g") if "office:" in (group.findtext(f"{SVG}title") or "")]
    paths = [each.get("d", "") for group in groups for each in group.findall(f"{SVG}path")]
    assert len({path.rpartition("L")[2].partition(",")[0] for path in paths if path.count("L") == 1}) == 5


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("background", ["#ffffff", "#000000"])
def test_lines_can_be_seen_on_white_and_on_black(background: str, topology: Write) -> None:
    """At least 3:1, which WCAG 2.1 asks of graphics (1.4.11); texts stand on plates and boxes of their own."""
    found = set(re.findall(r'edge \[color="(#\w+)"|class="cable down", color="(#\w+)"', dot.render(of(topology)).source))
    found |= set(re.findall(r'(class="cable down"), color="(#\w+)"', dot.render(hostile()).source))
    for colour in {each for pair in found for each in pair if each.startswith("#")}:
        one, other = sorted((luminance(colour), luminance(background)))
        assert (other + 0.05) / (one + 0.05) >= 3, colour


def test_without_graphviz_the_package_is_named_and_mermaid_works(topology: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match=r"no program 'dot'\n    apt-get install graphviz"):
        svg.render(of(topology))
    assert mermaid.render(of(topology)).startswith("flowchart TB\n")


def test_two_hundred_hosts_are_laid_out() -> None:
    found = picture.of(recipe.read("routed-lans", {"hosts": 100}).topology)
    assert len(texts(svg.render(found))) > 800


def test_what_hangs_from_a_node_lies_below_it_and_many_leaves_of_a_switch_on_both_sides() -> None:
    few = picture.of(recipe.read("rp-filter").topology)
    assert [(upper.node, lower.node) for upper, lower in directed(few)] == [
        ("target", "lan-a"),
        ("target", "lan-b"),
        ("lan-a", "asker"),
        ("lan-b", "asker"),
    ]
    many = directed(picture.of(recipe.read("office", {"pcs": 8}).topology))
    assert [upper.node == "office" for upper, lower in many if "office" in (upper.node, lower.node)][1:] == [True, False] * 4
