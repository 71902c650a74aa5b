"""Kernel features, each found by trying: against what this kernel says of itself elsewhere, and without a trace."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.world import look, until_as

from lab.substrate import features, namespaces, probes

pytestmark = pytest.mark.root

CONFIG = Path("/proc/config.gz")
OPTIONS = {
    "bond": "BONDING",
    "bridge": "BRIDGE",
    "dummy": "DUMMY",
    "ifb": "IFB",
    "ipvlan": "IPVLAN",
    "macsec": "MACSEC",
    "macvlan": "MACVLAN",
    "veth": "VETH",
    "vlan": "VLAN_8021Q",
    "vrf": "NET_VRF",
    "vxlan": "VXLAN",
    "wireguard": "WIREGUARD",
    "vlan_filtering": "BRIDGE_VLAN_FILTERING",
    "netem": "NET_SCH_NETEM",
    "tbf": "NET_SCH_TBF",
    "ipv6": "IPV6",
    "anycast": "IPV6",
    "tcp_md5": "TCP_MD5SIG",
    "tcp_ao": "TCP_AO",
    "transparent": "INET",
    "mptcp": "MPTCP",
    "nf_tables": "NF_TABLES",
    "openvswitch": "OPENVSWITCH",
    "drop_monitor": "NET_DROP_MONITOR",
    "drop_reasons": "TRACEPOINTS",
    "btf": "DEBUG_INFO_BTF",
    "tun": "TUN",
    "nfs": "NFS_V4",
    "nfsd": "NFSD",
    "martian_log": "IP_ROUTE_VERBOSE",
}


@pytest.fixture(scope="module")
def answers() -> dict[str, features.Answer]:
    return namespaces.inside_scratch(features.tried_here)


def test_every_feature_has_an_answer_and_root_may_try_each(answers: dict[str, features.Answer]) -> None:
    assert set(answers) == set(features.NAMES) == set(OPTIONS)
    assert {name: answer.why for name, answer in answers.items() if answer.there is None} == {}


def built_in() -> Iterator[tuple[str, str]]:
    """(option, y, m or nothing), where the kernel shows its configuration."""
    lines = gzip.decompress(CONFIG.read_bytes()).decode().splitlines() if CONFIG.exists() else []
    yield from (line.removeprefix("CONFIG_").split("=", 1) for line in lines if line.startswith("CONFIG_"))  # type: ignore[misc]


@pytest.mark.parametrize("feature", OPTIONS)
def test_what_is_built_in_is_found_and_what_is_left_out_is_not(feature: str, answers: dict[str, features.Answer]) -> None:
    """A module may be there or not; where the kernel does not show its configuration the tools' word is not worth more."""
    options = dict(built_in())
    if options and options.get(OPTIONS[feature]) != "m":
        assert answers[feature].there == (options.get(OPTIONS[feature]) == "y")


@pytest.mark.parametrize("kind", features.KINDS)
def test_a_kind_of_device_is_there_where_ip_can_make_one(kind: str, answers: dict[str, features.Answer]) -> None:
    words = {"vlan": ["id", "7"], "vrf": ["table", "7"], "vxlan": ["id", "7", "dstport", "4789"], "veth": ["peer", "name", "y"]}
    on = ["link", "lower"] if kind in ("vlan", "macvlan", "ipvlan", "macsec") else []
    script = 'ip link add lower type veth peer name far && ip link add x "$@"'
    argv = ["unshare", "--net", "sh", "-c", script, "sh", *on, "type", kind, *words.get(kind, [])]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (made.returncode == 0) == answers[kind].there, made.stderr


def test_trying_all_of_them_makes_nothing_and_takes_milliseconds() -> None:
    """The best of some tries: what waits for a processor, or for another who makes devices, waits longer than it works."""
    before = look()
    took = [sum(answer.seconds for answer in namespaces.inside_scratch(features.tried_here).values()) for _ in range(5)]
    until_as(before)
    assert min(took) < 0.5


def loads(names: Iterator[set[str]]) -> Callable[[], frozenset[str]]:
    return lambda: frozenset(next(names))


def test_a_module_that_came_while_a_feature_was_tried_is_told_with_it() -> None:
    seen = iter([{"veth"}, {"veth"}, {"veth", "8021q", "mrp"}, {"8021q", "mrp", "other"}])
    found = features.tried_here(("btf", "ipv6", "transparent"), loads(seen))
    assert [answer.modules for answer in found.values()] == [(), ("8021q", "mrp"), ("other",)]


def test_modules_are_read_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_MODULES", tmp_path / "modules")
    assert features.loaded_modules() == frozenset()
    (tmp_path / "modules").write_text("veth 36864 0 - Live 0x0000000000000000\nmrp 20480 1 8021q, Live 0x0\n")
    assert features.loaded_modules() == {"veth", "mrp"}


def test_what_the_kernel_does_not_know_is_not_there_in_every_way_of_asking() -> None:
    from lab.substrate.netlink import probes as netlink

    assert not probes.file_system("nosuchfs")
    assert not netlink.generic_family("NO_SUCH_FAMILY")
    assert not probes.shown("/proc/sys/net/nosuch")
    assert namespaces.inside_scratch(lambda: netlink.link_kind("nosuchkind")) == 95  # EOPNOTSUPP


def test_what_the_kernel_has_is_there_in_every_way_of_asking(tmp_path: Path) -> None:
    from lab.substrate.netlink import probes as netlink

    assert probes.file_system("tmpfs")
    assert netlink.generic_family("nlctrl")
    assert not probes.tun(tmp_path / "no-device")


@pytest.mark.parametrize("code", ["EPERM", "EACCES"])
def test_what_may_not_be_tried_is_neither_there_nor_missing(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    number = getattr(errno, code)

    def refuse() -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setitem(features._OTHERS, "nfsd", refuse)
    answer = features.tried_here(("nfsd",))["nfsd"]
    assert (answer.there, answer.why) == (None, os.strerror(number))
    with pytest.raises(PermissionError):
        features.missing(["nfsd"])


def test_without_privilege_a_kind_of_device_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    monkeypatch.setattr("lab.substrate.netlink.probes.link_kind", lambda _: errno.EPERM)
    assert features.tried_here(("veth",))["veth"].there is None
