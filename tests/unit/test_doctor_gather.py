"""How `lab doctor` reads a host: from files as WSL, containers, distributions and kernels write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lab.doctor import gather, programs, scenarios, surroundings


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) (gcc version 5.4.0 (GCC) ) #1237-Microsoft", 1),
        ("Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host) (x86_64-msft-linux-gcc (GCC) 9.3.0)", 2),
        ("Linux version 4.19.104-microsoft-standard (oe-user@oe-host) (gcc version 8.2.0 (GCC))", 2),
        ("Linux version 6.1.0-9-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0)", 0),
        ("", 0),
    ],
)
def test_wsl_is_told_by_the_kernels_version(version: str, expected: int) -> None:
    assert surroundings.wsl(version) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"run/.containerenv": ""}, "podman"),
        ({".dockerenv": ""}, "docker"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0"}, "lxc"),
        ({"var/run/secrets/kubernetes.io/serviceaccount/token": ""}, "kubernetes"),
        ({"proc/1/cgroup": "5:cpu:/docker/0123\n"}, "docker"),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, "kubernetes"),
        ({"proc/1/cgroup": "0::/init.scope\n", "proc/1/environ": "HOME=/\0"}, ""),
        ({}, ""),
    ],
)
def test_a_container_is_told_by_what_its_runtime_leaves(tmp_path: Path, files: Mapping[str, str], expected: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert surroundings.container(tmp_path) == expected


def test_the_mode_of_lockdown_is_the_one_in_brackets() -> None:
    assert surroundings.lockdown("none integrity [confidentiality]\n") == "confidentiality"
    assert surroundings.lockdown("") == "none"


def test_capabilities_in_effect_are_read_by_their_bits() -> None:
    status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000000400201000\nCapBnd:\t0\n"
    assert gather.capabilities(status) == {"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYSLOG"}
    assert gather.capabilities("CapEff:\t0\n") == frozenset()


def test_subordinate_ids_are_given_by_name_or_number_and_add_up() -> None:
    text = "ada:100000:65536\nbob:165536:65536\n1000:300000:10\nnonsense\nada:x:y\n"
    assert gather.subordinate(text, ("ada", "1000")) == 65546
    assert gather.subordinate("", ("ada", "1000")) == 0


def test_a_program_maps_ids_only_with_the_privilege_for_it(tmp_path: Path) -> None:
    program = tmp_path / "newuidmap"
    assert not gather.maps_ids("")
    assert not gather.maps_ids(str(program))
    program.touch()
    assert not gather.maps_ids(str(program))
    program.chmod(0o4755)
    assert gather.maps_ids(str(program))


def test_sysctls_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/pid_max").write_text("32768\n")
    assert dict(gather.sysctls(("kernel.pid_max", "kernel.unprivileged_userns_clone"), tmp_path)) == {"kernel.pid_max": "32768"}


def test_only_managers_of_the_callers_own_namespace_count_or_of_one_it_may_not_see(tmp_path: Path) -> None:
    for pid, name, net in (("self", "lab", "1"), ("7", "tuned", "1"), ("8", "dhcpcd", "2"), ("9", "NetworkManager", "")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(f"{name}\n")
        if net:
            (tmp_path / pid / "ns/net").symlink_to(f"net:[{net}]")
    assert gather.managers(tmp_path) == ("NetworkManager", "tuned")


def test_the_limit_of_processes_is_that_of_the_cgroup_and_its_ancestors_too() -> None:
    text = "8:pids:/a\n4:memory:/a\n0::/b/c\n"
    base = "/sys/fs/cgroup"
    assert list(gather._cgroup_limits(text)) == [
        *(f"{base}/pids/a/pids.max", f"{base}/pids/pids.max"),
        *(f"{base}/b/c/pids.max", f"{base}/b/pids.max", f"{base}/pids.max"),
    ]


def test_checks_that_read_the_kernels_log_are_found_without_importing_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import nothing_such\ndef test_a(lab, kernel_log): ...\ndef test_b(lab): ...\ndef logged(kernel_log): ...\n"
    )
    assert scenarios.log_checks(file) == 1


def test_a_topology_tells_what_it_needs_with_its_default_parameters(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text('params: {kind: {default: bridge}}\n---\nname: x\nnodes: {a: {interfaces: {i: {kind: "{{ kind }}"}}}}\n')
    assert scenarios.read(file).features == {"bridge"}


def test_a_program_that_a_service_of_a_topology_lacks_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab import recipe
    from lab.roles.spec import ServiceSpec

    file = tmp_path / "x.yaml"
    file.write_text("name: x\nnodes: {a: {}}\n")
    services = (
        ServiceSpec("a", "lacks", ("no-such-program",), package="no-such"),
        ServiceSpec("a", "has", ("sh",), package="dash"),
        ServiceSpec("a", "brings", ("./mine",), files={"mine": "#!/bin/sh"}, package="none"),
    )
    plain = recipe.read(file)
    monkeypatch.setattr(recipe, "read", lambda _: replace(plain, services=services))
    assert scenarios.read(file).lacks == {"no-such-program": "no-such"}


def test_a_topology_that_cannot_be_read_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nnodes: {a: {knid: host}}\n")
    assert scenarios.read(file).problem == f"{file}:2:13: unknown key 'knid'"


@dataclass(frozen=True)
class Role:
    """As much of a role as `lab doctor` reads."""

    package: str | None
    program: str


def test_a_program_that_several_want_is_told_once_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = {"looks": Role("iproute2", "ip"), "plain": Role(None, "sh"), "none": Role("no-such", "no-such-program")}
    monkeypatch.setattr(programs, "shipped_roles", lambda: roles)
    found = {program.name: program for program in programs.wanted()}
    assert [program.wanted for program in programs.wanted() if program.name == "ip"] == [
        (programs.OWN[0][2],),
        ("the role looks",),
    ]
    assert "sh" not in found
    assert (found["no-such-program"].package, found["no-such-program"].path) == ("no-such", "")


def test_programs_of_the_system_are_found_also_where_the_path_has_them_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "daemon"
    program.touch(0o755)
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert programs.where("daemon") == str(program)
    assert programs.where("another") == ""


def test_a_library_is_looked_for_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of captures load libpcap, which no program of ours is linked to."""
    monkeypatch.setattr("ctypes.util.find_library", {"pcap": "libpcap.so.0.8"}.get)
    assert programs.where("libpcap") == "libpcap.so.0.8"
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    lacks = {program.name: program.package for program in programs.wanted() if not program.path}
    assert lacks["libpcap"] == "libpcap0.8"


def test_a_role_that_begins_with_a_shell_names_the_program_of_its_package() -> None:
    """Else what it lacks would be found out only once the shell does not find it."""
    packages = {name: (role.program, role.package) for name, role in programs.shipped_roles().items()}
    assert packages["nftables"] == ("nft", "nftables")
    assert [name for name, (program, package) in packages.items() if package and program in ("sh", "bash")] == []


def test_a_trial_that_says_nothing_is_a_trial_that_was_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    with gather._Trial("caller") as trial:
        assert trial.result() == {}
