"""A lab starts from the kernel's own defaults, however this host was set; the reference is the kernel itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.topologies import PAIR

from lab import Lab
from lab.substrate import namespaces

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
Settings = dict[str, str]

NET = Path("/proc/sys/net")
INHERIT = NET / "core" / "devconf_inherit_init_net"
PLACES = ("all", "default", "lo")
# Of the host itself: would cut it off, or cannot be set back to what it was.
LEFT_ALONE = {"forwarding", "mc_forwarding", "disable_ipv6", "mtu", "stable_secret", "addr_gen_mode", "rp_filter"}
NEIGHBOUR_LIMITS = {"gc_thresh1", "gc_thresh2", "gc_thresh3", "gc_interval", "unres_qlen", "unres_qlen_bytes"}
TWICE = {"base_reachable_time", "retrans_time"}  # in other units under another name


def conf() -> Settings:
    """Every IPv4 and IPv6 setting of the calling thread's namespace that a new device could get."""
    files = [path for family in ("ipv4", "ipv6") for place in PLACES for path in (NET / family / "conf" / place).iterdir()]
    return {str(path.relative_to(NET)): path.read_text().strip() for path in files if path.name != "stable_secret"}


def neighbours() -> Settings:
    """The neighbour settings of the devices of the calling thread's namespace."""
    files = [path for family in ("ipv4", "ipv6") for path in (NET / family / "neigh" / "eth0").iterdir()]
    return {str(path.relative_to(NET)): path.read_text().strip() for path in files}


@contextmanager
def set_to(path: Path, *candidates: object) -> Iterator[None]:
    """The first of `candidates` that the kernel takes, and afterwards what was there."""
    before = path.read_text().strip()
    try:
        for value in candidates:
            try:
                path.write_text(str(value))
                break
            except OSError:
                continue
        yield
    finally:
        path.write_text(before)
        assert path.read_text().strip() == before


@contextmanager
def host_set_otherwise(folders: list[Path], left_alone: set[str]) -> Iterator[int]:
    """Each setting in `folders` has another value than before."""
    with ExitStack() as undo:
        paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.name not in left_alone]
        for path in paths:
            value = int(path.read_text())
            undo.enter_context(set_to(path, *([1 - value] if value in (0, 1) else [value + 100, value + 1, value - 1])))
        yield len(paths)


def of_the_kernel() -> Settings:
    """What the kernel gives a namespace that inherits nothing (Documentation/admin-guide/sysctl/net.rst)."""
    with set_to(INHERIT, 2):
        return namespaces.inside_scratch(conf)


def test_a_node_has_the_kernels_own_settings(topology: Write) -> None:
    with Lab.up(topology(PAIR)) as lab:
        assert lab["a"].inside(conf) == of_the_kernel()


@pytest.mark.parametrize("inherit", [0, 1, 3])
def test_a_node_has_the_kernels_own_settings_whatever_the_host_has(topology: Write, inherit: int) -> None:
    folders = [NET / family / "conf" / "default" for family in ("ipv4", "ipv6")]
    folders.append(NET / "ipv4" / "conf" / "all")
    wished = of_the_kernel()
    leaving = LEFT_ALONE | {"drop_gratuitous_arp", "arp_ignore", "arp_filter", "disable_policy", "disable_xfrm"}
    with host_set_otherwise(folders, leaving) as changed, set_to(INHERIT, inherit), Lab.up(topology(PAIR)) as lab:
        found = [node.inside(conf) for node in lab]
    assert changed > 100
    assert [{key: each[key] for key in each if each[key] != wished[key]} for each in found] == [{}, {}]


def test_reverse_path_filtering_of_the_host_does_not_reach_a_node(topology: Write) -> None:
    with set_to(NET / "ipv4" / "conf" / "default" / "rp_filter", 2, 1), Lab.up(topology(PAIR)) as lab:
        assert {node.sysctl["net.ipv4.conf.eth0.rp_filter"] for node in lab} == {"0"}
        assert {node.sysctl["net.ipv4.conf.default.rp_filter"] for node in lab} == {"0"}


def test_devices_have_the_kernels_own_neighbour_settings_whatever_the_host_has(topology: Write) -> None:
    folders = [NET / family / "neigh" / "default" for family in ("ipv4", "ipv6")]
    text = PAIR.replace("{{a: {{}},", "{{a: {{interfaces: {{eth0: {{sysctls: {{ipv4.neigh.ucast_solicit: 5}}}}}}}},")
    with Lab.up(topology(PAIR)) as lab:
        plain = lab["a"].inside(neighbours)
    with host_set_otherwise(folders, NEIGHBOUR_LIMITS | TWICE) as changed, Lab.up(topology(text)) as lab:
        found = [node.inside(neighbours) for node in lab]
    assert changed > 20
    assert found == [plain | {"ipv4/neigh/eth0/ucast_solicit": "5"}, plain]


def test_what_the_file_says_of_a_sysctl_comes_after_the_baseline(topology: Write) -> None:
    text = PAIR.replace("{{a: {{}},", "{{a: {{sysctls: {{net.ipv4.conf.default.rp_filter: 1}}}},")
    with Lab.up(topology(text)) as lab:
        assert lab["a"].sysctl["net.ipv4.conf.eth0.rp_filter"] == "1"
        assert lab["b"].sysctl["net.ipv4.conf.eth0.rp_filter"] == "0"


def test_a_router_forwards_and_a_host_does_not(topology: Write) -> None:
    with Lab.up(topology("name: {name}\nnodes: {{r: {{kind: router}}, h: {{}}}}\n")) as lab:
        for key in ("net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding", "net.ipv6.conf.all.forwarding"):
            assert (lab["r"].sysctl[key], lab["h"].sysctl[key]) == ("1", "0")
