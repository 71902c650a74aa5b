"""Every sentence of `lab doctor` is provoked by facts of its own, and those that keep every lab from running are to blame."""

from __future__ import annotations

import ast
import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lab.doctor
from lab.doctor import kernel, privileges, programs, scenarios, settings
from lab.doctor.facts import Caller, Docker, Experiment, Facts, Kernel, Needs, Program, Surroundings
from lab.doctor.finding import Finding, Sentence, Verdict
from lab.doctor.judge import blame, judge
from lab.substrate.features import Answer

MODULES = (privileges, kernel, programs, scenarios, settings)
ROOT_STEPS = ("network", "sysctl", "mounts", "tmpfs", "processes", "proc", "sys")
ORDINARY_STEPS = ("user", "map", *ROOT_STEPS)
WELL = dict.fromkeys(ORDINARY_STEPS, 0)
EVERY = frozenset({"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SYSLOG"})

SOCKET = "unix:///var/run/docker.sock"
THERE, ABSENT = Answer(True, 1e-5), Answer(False, 1e-5)
UNTRIED = Answer(None, 1e-5, "Operation not permitted")
DEFAULTS = {
    "kernel.dmesg_restrict": "0",
    "user.max_user_namespaces": "10000",
    "user.max_net_namespaces": "10000",
    "user.max_mnt_namespaces": "10000",
    "user.max_pid_namespaces": "10000",
    "net.ipv4.neigh.default.gc_thresh2": "8192",
    "net.ipv4.neigh.default.gc_thresh3": "16384",
    "net.ipv6.neigh.default.gc_thresh2": "8192",
    "net.ipv6.neigh.default.gc_thresh3": "16384",
    "net.ipv4.icmp_msgs_per_sec": "1000",
    "net.ipv4.icmp_msgs_burst": "50",
    "net.core.message_cost": "5",
    "net.core.message_burst": "10",
    "net.core.netdev_max_backlog": "10000",
    "net.core.devconf_inherit_init_net": "0",
    "net.ipv4.tcp_congestion_control": "cubic",
    "fs.inotify.max_user_instances": "1024",
}
ROOT = Facts(
    caller=Caller(0, "root", EVERY, True, "/run/lab", True, dict.fromkeys(ROOT_STEPS, 0), ordinary=WELL),
    around=Surroundings(release="6.1.0-9-amd64", modular=True, modules_there=True),
    kernel=Kernel(dict.fromkeys(kernel.USES, THERE)),
    programs=(Program("ip", "iproute2", ("the scenarios",), "/usr/sbin/ip"),),
    topologies={"office": Needs(frozenset({"bridge", "netem or tbf"}))},
    experiments=(Experiment("who-answers", ("office",), 7, log_checks=2),),
    settings=DEFAULTS,
    scratch=frozenset({"net.ipv4.icmp_msgs_per_sec"}),
    deviations=(),
    docker=Docker(SOCKET, "/usr/sbin/dockerd", "20.10"),
    processes=32768,
    files=4096,
)
"""A host on which nothing lacks, and who is root there."""


def caller(**changed: Any) -> Facts:
    return replace(ROOT, caller=replace(ROOT.caller, **changed))


def ordinary(trial: dict[str, int] | None = None, **changed: Any) -> Facts:
    maps = {"newuidmap": True, "newgidmap": True}
    person = Caller(
        1000, "ada", frozenset(), True, "/run/lab", False, WELL if trial is None else trial, None, maps, 65536, 65536
    )
    return replace(ROOT, caller=replace(person, **changed))


def refused(step: str, code: int = errno.EPERM) -> dict[str, int]:
    return {name: 0 for name in ROOT_STEPS if name != step} | {step: code}


def around(**changed: Any) -> Facts:
    return replace(ROOT, around=replace(ROOT.around, **changed))


def answers(modular: bool = True, **changed: Answer) -> Facts:
    return replace(around(modular=modular), kernel=Kernel({**ROOT.kernel.answers, **changed}))


def needs(*features: str, problem: str = "", **programs: str) -> Facts:
    return replace(ROOT, topologies={"office": Needs(frozenset(features), programs, problem)})


def untried() -> Facts:
    return answers(bridge=UNTRIED)


def sysctl(key: str, value: str | None, facts: Facts = ROOT) -> Facts:
    kept = {name: text for name, text in facts.settings.items() if name != key}
    return replace(facts, settings=kept if value is None else kept | {key: value})


def without_thresholds() -> Facts:
    kept = {name: text for name, text in DEFAULTS.items() if ".neigh." not in name}
    return replace(ROOT, settings=kept)


def no_userns(**sysctls: str) -> Facts:
    facts = ordinary({"user": errno.EPERM})
    for key, value in sysctls.items():
        facts = sysctl(key.replace("__", "."), value, facts)
    return facts


NO_APT = replace(around(apt=False), programs=(Program("radvd", "radvd", ("the role radvd",)),))
LOG_CLOSED = "Operation not permitted"

CASES: dict[str, Facts] = {
    "caller.root": ROOT,
    "caller.root-lacks": caller(capabilities=frozenset({"CAP_NET_ADMIN"})),
    "caller.root-of-namespace": caller(mapped=False),
    "caller.ordinary": ordinary(),
    "caller.run-closed": caller(run_writable=False),
    "caller.no-resource": caller(capabilities=EVERY - {"CAP_SYS_RESOURCE"}),
    "log.open": ROOT,
    "log.closed": sysctl("kernel.dmesg_restrict", "1", ordinary(kernel_log="No such file or directory")),
    "log.restricted": sysctl("kernel.dmesg_restrict", "1", ordinary(kernel_log=LOG_CLOSED)),
    "trial.made": ROOT,
    "trial.not-tried": caller(trial={}),
    "trial.network": caller(trial={"network": errno.EPERM}),
    "trial.mounts": caller(trial=refused("tmpfs", errno.EACCES)),
    "trial.processes": caller(trial={"network": 0, "sysctl": 0, "mounts": 0, "tmpfs": 0, "processes": errno.ENOSPC}),
    "trial.proc": caller(trial=refused("proc")),
    "trial.sysctl": caller(trial=refused("sysctl", errno.EROFS)),
    "userns.works": ROOT,
    "userns.clone": no_userns(kernel__unprivileged_userns_clone="0"),
    "userns.max": no_userns(user__max_user_namespaces="0"),
    "userns.apparmor": no_userns(kernel__apparmor_restrict_unprivileged_userns="1"),
    "userns.unmapped": ordinary({"user": errno.EPERM}, mapped=False),
    "userns.refused": no_userns(),
    "ids.maps": ordinary(),
    "ids.no-programs": ordinary(id_maps={"newuidmap": False, "newgidmap": True}),
    "ids.no-ranges": ordinary(subgids=0),
    "around.wsl1": around(wsl=1),
    "around.wsl2": around(wsl=2),
    "around.container": around(container="podman"),
    "around.lockdown": around(lockdown="confidentiality"),
    "feature.there": ROOT,
    "feature.built-without": answers(modular=False, vrf=ABSENT),
    "feature.no-module": answers(vrf=ABSENT),
    "feature.not-built": answers(tcp_ao=ABSENT),
    "feature.untried": answers(nfsd=UNTRIED),
    "features.untried": replace(ROOT, kernel=Kernel({}, why="a user namespace is refused: Operation not permitted")),
    "modules.no-folder": around(modules_there=False),
    "modules.loaded": answers(vlan=Answer(True, 0.02, modules=("mrp", "8021q"))),
    "modules.none-loaded": ROOT,
    "modules.none": answers(modular=False),
    "modules.devices": replace(ROOT, kernel=Kernel(ROOT.kernel.answers, ("bond0",))),
    "program.there": ROOT,
    "program.lacking": replace(NO_APT, around=ROOT.around),
    "program.lacking-without-apt": NO_APT,
    "docker.there": ROOT,
    "docker.silent": replace(ROOT, docker=Docker(SOCKET, "/usr/sbin/dockerd", why="Connection refused")),
    "docker.lacking": replace(ROOT, docker=Docker(SOCKET, why="No such file or directory")),
    "scenario.runs": ROOT,
    "scenario.no-log": ordinary(kernel_log=LOG_CLOSED),
    "scenario.lacks-feature": answers(bridge=ABSENT),
    "scenario.in-a-guest": replace(answers(bridge=ABSENT), kernels=("6.1.0-56-amd64",)),
    "scenario.lacks-program": needs("bridge", radvd="radvd"),
    "scenario.untried": untried(),
    "scenario.unreadable": needs(problem="office.yaml:3:1: unknown key 'knid'"),
    "scenario.no-labs": caller(trial={"network": errno.EPERM}),
    "topology.builds": ROOT,
    "topology.lacks": answers(netem=ABSENT, tbf=ABSENT),
    "topology.root": ordinary(),
    "topology.untried": untried(),
    "topology.unreadable": needs(problem="office.yaml:3:1: unknown key 'knid'"),
    "neighbours.enough": ROOT,
    "neighbours.few": sysctl("net.ipv4.neigh.default.gc_thresh3", "1024"),
    "neighbours.eager": sysctl("net.ipv6.neigh.default.gc_thresh2", "512"),
    "neighbours.unseen": without_thresholds(),
    "icmp.shared": replace(ROOT, scratch=frozenset({"net.ipv4.tcp_congestion_control"})),
    "icmp.own": ROOT,
    "icmp.each": ROOT,
    "log.limit": ROOT,
    "log.slow": sysctl("net.core.message_cost", "60"),
    "log.free": sysctl("net.core.message_cost", "0"),
    "backlog.short": sysctl("net.core.netdev_max_backlog", "1000"),
    "backlog.long": ROOT,
    "inotify.few": sysctl("fs.inotify.max_user_instances", "128"),
    "inotify.enough": ROOT,
    "files.enough": ROOT,
    "files.few": replace(ROOT, files=256),
    "processes.enough": ROOT,
    "processes.few": replace(ROOT, processes=512),
    "namespaces.few": sysctl("user.max_net_namespaces", "10"),
    "namespaces.enough": ROOT,
    "defaults.copied": replace(ROOT, deviations=tuple(f"net.ipv4.conf.{each}.rp_filter" for each in "abcde")),
    "defaults.kernels": ROOT,
    "defaults.untried": replace(ROOT, deviations=None),
    "defaults.inherit": sysctl("net.core.devconf_inherit_init_net", "1"),
    "tcp.congestion": sysctl("net.ipv4.tcp_congestion_control", "bbr"),
    "bridge.filter": sysctl("net.bridge.bridge-nf-call-iptables", "1"),
    "manager.sysctls": replace(ROOT, managers=("tuned",)),
    "manager.devices": replace(ROOT, managers=("NetworkManager",)),
}
"""Which facts make which sentence; the key is the sentence's."""


def sentences() -> Iterator[Sentence]:
    """All that there are: constants of the modules that judge."""
    for module in MODULES:
        yield from (value for value in vars(module).values() if isinstance(value, Sentence))


def said(key: str, facts: Facts) -> Finding:
    found = [finding for finding in judge(facts) if finding.key == key]
    assert found, f"{key} was not said, but {sorted({finding.key for finding in judge(facts)})}"
    return found[0]


def test_every_sentence_has_its_facts() -> None:
    keys = [sentence.key for sentence in sentences()]
    assert len(keys) == len(set(keys))
    assert set(CASES) == set(keys)


def test_no_finding_is_made_but_of_a_sentence_that_is_a_constant() -> None:
    folder = Path(str(lab.doctor.__file__)).parent
    modules = {path.stem: ast.parse(path.read_text()) for path in folder.glob("*.py")}
    assert set(modules) >= {module.__name__.rpartition(".")[2] for module in MODULES}
    for name, tree in modules.items():
        top = {id(node.value) for node in tree.body if isinstance(node, ast.Assign)}
        for node in ast.walk(tree):
            if name != "finding" and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("Finding", "Sentence")
                assert node.func.id not in ("ok", "note", "lacking") or id(node) in top, f"{name}:{node.lineno}"


@pytest.mark.parametrize("key", CASES)
def test_a_sentence_is_said_where_its_facts_hold(key: str) -> None:
    finding = said(key, CASES[key])
    assert finding.found
    assert "{" not in finding.found + finding.follows + finding.remedy
    if finding.verdict is Verdict.LACKING:
        assert finding.follows and finding.remedy
    if CASES[key] is not ROOT:
        assert key not in {each.key for each in judge(ROOT)}, "the facts are not what provokes it"


BLOCKING = {
    "caller.root-lacks",
    "caller.run-closed",
    "trial.network",
    "trial.mounts",
    "trial.processes",
    "trial.proc",
    "trial.sysctl",
    "userns.clone",
    "userns.max",
    "userns.apparmor",
    "userns.unmapped",
    "userns.refused",
    "around.wsl1",
}


@pytest.mark.parametrize("key", CASES)
def test_only_what_keeps_every_lab_from_running_is_to_blame(key: str) -> None:
    guilty = {finding.key for finding in blame(judge(CASES[key]))}
    assert (key in guilty) == (key in BLOCKING)
    assert guilty <= BLOCKING


def test_on_a_host_on_which_nothing_lacks_nothing_is_lacking_or_noted() -> None:
    assert {finding.verdict for finding in judge(ROOT)} == {Verdict.OK}


@pytest.mark.parametrize("key", sorted(key for key in BLOCKING if key.startswith("userns.") and key != "userns.unmapped"))
def test_for_root_what_ordinary_users_cannot_do_is_a_note(key: str) -> None:
    facts = CASES[key]
    as_root = replace(ROOT, caller=replace(ROOT.caller, ordinary=facts.caller.trial), settings=facts.settings)
    finding = said(key, as_root)
    assert (finding.verdict, finding.blocks) == (Verdict.NOTE, False)
    assert not blame(judge(as_root))


def test_a_refused_map_of_ids_is_a_refused_user_namespace() -> None:
    """Ubuntu's AppArmor lets a user namespace be made, and then takes its capabilities."""
    facts = sysctl("kernel.apparmor_restrict_unprivileged_userns", "1", ordinary({"user": 0, "map": errno.EPERM}))
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in said("userns.apparmor", facts).remedy


def test_what_an_ordinary_user_lacks_behind_the_user_namespace_is_said_too() -> None:
    facts = ordinary({"user": 0, "map": 0, "network": 0, "sysctl": errno.EROFS})
    assert "Read-only file system" in said("trial.sysctl", facts).found
    assert "userns.works" not in {finding.key for finding in judge(facts)}


def test_one_of_two_alternatives_is_enough() -> None:
    assert "topology.builds" in {finding.key for finding in judge(answers(netem=ABSENT))}
    assert "topology.untried" in {finding.key for finding in judge(answers(netem=ABSENT, tbf=UNTRIED))}


@pytest.mark.parametrize(("most", "hosts"), [(0, 1), (1, 1), (2, 2), (992, 32), (1024, 32), (1055, 32), (1056, 33)])
def test_so_many_hosts_have_each_other_as_neighbours(most: int, hosts: int) -> None:
    assert settings.talking_hosts(most) == hosts


def test_what_is_wanted_of_a_lacking_program_is_said_with_its_package() -> None:
    finding = said("program.lacking", CASES["program.lacking"])
    assert (finding.name, finding.remedy) == ("radvd", "lab doctor --install, or: apt-get install radvd")
    assert "apt-get install" not in said("program.lacking-without-apt", NO_APT).remedy


def test_every_feature_that_can_be_tried_has_a_use() -> None:
    from lab.substrate import features

    assert set(kernel.USES) == set(features.NAMES)
