"""A lab whose making fails at any step leaves nothing; the error says which step, on which node, and what the kernel said."""

from __future__ import annotations

import errno
import inspect
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import lab as command
from support.topologies import EVERY_STEP
from support.world import look, run_directory

from lab import Lab, StepError, plan, recipe, state, steps
from lab.steps import Step

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
STEPS = 36
"""At least as many as EVERY_STEP has; the test after the next says when this is too few."""


class InjectedError(Exception):
    """A fault of no part of lab."""


def steps_of(file: Path) -> tuple[Step, ...]:
    found = recipe.read(file)
    return plan.make_plan(found.topology, found.services).steps


def test_the_topology_of_these_tests_has_every_kind_of_step_that_this_kernel_can_do(topology: Write) -> None:
    kinds = {each for _, each in inspect.getmembers(steps, inspect.isclass) if issubclass(each, Step)}
    have = {type(step) for step in steps_of(topology(EVERY_STEP))}
    without_vlan_filtering = {steps.SetPortVlan, steps.LeaveDefaultVlan}
    of_open_vswitch = {steps.MakeOvsBridge, steps.AddOvsPort}  # see test_open_vswitch
    of_containers = {steps.StartContainer, steps.TakeNamespace, steps.OpenGate, steps.RunCommand}  # see test_containers
    assert kinds - have == {Step} | without_vlan_filtering | of_open_vswitch | of_containers


def test_no_step_of_it_is_left_out_below(topology: Write) -> None:
    assert len(steps_of(topology(EVERY_STEP))) <= STEPS


@pytest.mark.parametrize("number", range(1, STEPS + 1))
def test_a_fault_before_any_step_undoes_all_that_was_made(topology: Write, number: int) -> None:
    file, seen = topology(EVERY_STEP), list[Step]()
    before, descriptors = look(), open_descriptors()

    def fail(step: Step) -> None:
        seen.append(step)
        if len(seen) == number:
            raise InjectedError

    if number > len(steps_of(file)):
        return
    with pytest.raises(InjectedError):
        Lab.up(file, on_step=fail)
    assert look() == before
    assert open_descriptors() == descriptors
    assert len(seen) == number


def test_a_fault_while_waiting_for_readiness_undoes_all_that_was_made(topology: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look()
    monkeypatch.setattr(Lab, "_wait_for_links", lambda *_: (_ for _ in ()).throw(InjectedError))
    with pytest.raises(InjectedError):
        Lab.up(topology(EVERY_STEP))
    assert look() == before


@pytest.mark.parametrize("call", ["_furnish", "link_namespaces", "mounts.mount_tree"])
def test_a_fault_while_a_home_is_made_undoes_it(topology: Write, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise InjectedError

    before = look()
    monkeypatch.setattr(f"lab.state.{call}", fail)
    with pytest.raises(InjectedError):
        Lab.up(topology(EVERY_STEP))
    assert look() == before


REFUSALS = [
    pytest.param(
        "nodes: {a: {sysctls: {net.ipv4.no_such_key: 1}}}",
        "set net.ipv4.no_such_key = 1 on a",
        errno.ENOENT,
        None,
        id="a sysctl that this kernel has not",
    ),
    pytest.param(
        "nodes: {a: {sysctls: {net.ipv4.ip_forward: often}}}",
        "set net.ipv4.ip_forward = often on a",
        errno.EINVAL,
        None,
        id="a value that a sysctl cannot have",
    ),
    pytest.param(
        "nodes: {a: {}, b: {}}\nlinks: [{endpoints: [b, a], offloads: {no-such-feature: true}}]",
        "set offloads of a:eth0: no-such-feature on",
        errno.EOPNOTSUPP,
        None,
        id="an offload that nobody knows",
    ),
    pytest.param(
        "nodes: {a: {interfaces: {x: {kind: vxlan, id: 7}, y: {kind: vxlan, id: 7}}}}",
        "make the vxlan a:y id 7",
        errno.EEXIST,
        "A VXLAN device with the specified VNI already exists",
        id="a device that exists",
    ),
    pytest.param(
        "nodes: {a: {interfaces: {x: {kind: bridge}, y: {kind: bridge, members: [x]}}}}",
        "make a:x a member of y",
        errno.ELOOP,
        "Can not enslave a bridge to a bridge",
        id="a bridge in a bridge",
    ),
    pytest.param(
        "nodes: {a: {interfaces: {m: {kind: macvlan, parent: eth0, mac: '02:00:00:00:00:01'}, "
        "n: {kind: macvlan, parent: eth0, mac: '02:00:00:00:00:01'}}}, b: {}}\nlinks: [{endpoints: [a, b]}]",
        "raise a:n",
        errno.EADDRINUSE,
        None,
        id="a MAC address that another macvlan has",
    ),
    pytest.param(
        "nodes: {a: {sysctls: {net.ipv6.conf.default.disable_ipv6: 1}, "
        "interfaces: {x: {kind: ifb, addresses: '2001:db8::1/64'}}}}",
        "add 2001:db8::1/64 to a:x",
        errno.EACCES,
        "IPv6 is disabled on this device",
        id="an IPv6 address where IPv6 is off",
    ),
    pytest.param(
        "nodes: {a: {interfaces: {x: {kind: ifb, up: false, addresses: 10.0.0.1/24}}, routes: [{to: default, via: 10.0.0.2}]}}",
        "add the route default via 10.0.0.2 on a",
        errno.ENETUNREACH,
        "Nexthop has invalid gateway",
        id="a gateway behind a device that is down",
    ),
    pytest.param(
        "nodes: {a: {rules: [{from: 10.0.0.0/8, table: 5, priority: 7}, {from: 10.0.0.0/8, table: 5, priority: 7}]}}",
        "add the rule from 10.0.0.0/8 table 5 priority 7 on a",
        errno.EEXIST,
        None,
        id="a rule twice",
    ),
]


@pytest.mark.parametrize(("text", "step", "code", "extack"), REFUSALS)
def test_what_the_kernel_refuses_is_told_with_its_step_and_its_words(
    tmp_path: Path, name: str, text: str, step: str, code: int, extack: str | None
) -> None:
    file, before = tmp_path / "topology.yaml", look()
    file.write_text(f"name: {name}\n{text}\n")
    with pytest.raises(StepError) as caught, Lab.up(file):
        pass
    assert look() == before
    refused = caught.value
    assert (refused.step, refused.node, refused.code) == (step, "a", code)
    assert (extack or "") in (refused.extack or "")
    for part in (step, "on node a", errno.errorcode[code], os.strerror(code), extack or ""):
        assert part in str(refused)


def test_the_first_of_several_refusals_in_one_batch_is_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / "topology.yaml"
    rules = "{from: 10.0.0.0/8, table: 5, priority: 7}, {from: 10.1.0.0/16, table: 5, priority: 8}"
    file.write_text(f"name: {name}\nnodes: {{a: {{rules: [{rules}, {rules}]}}}}\n")
    with pytest.raises(StepError, match=r"rule from 10\.0\.0\.0/8 table 5 priority 7"), Lab.up(file):
        pass


def test_a_refused_step_ends_the_command_with_3_and_says_what_was_refused(tmp_path: Path, name: str) -> None:
    file, before = tmp_path / "topology.yaml", look()
    file.write_text(f"name: {name}\nnodes: {{a: {{interfaces: {{x: {{kind: vxlan, id: 7}}, y: {{kind: vxlan, id: 7}}}}}}}}\n")
    said = command("up", file)
    assert (said.status, said.stdout) == (3, "")
    assert "step failed on node a: make the vxlan a:y id 7" in said.stderr
    assert "EEXIST" in said.stderr
    assert "already exists" in said.stderr
    assert look() == before


def test_a_message_larger_than_a_socket_takes_is_sent_in_parts(tmp_path: Path, name: str) -> None:
    """64 routes of 300 next hops are more than the kernel's send buffer, net.core.wmem_default."""
    hops = ", ".join(f"{{via: 10.0.{at // 200}.{at % 200 + 2}}}" for at in range(300))
    routes = ", ".join(f"{{to: 10.{number}.0.0/16, nexthops: [{hops}]}}" for number in range(1, 65))
    file = tmp_path / "topology.yaml"
    file.write_text(
        f"name: {name}\nnodes: {{a: {{interfaces: {{x: {{kind: ifb, addresses: 10.0.0.1/16}}}}, routes: [{routes}]}}}}\n"
    )
    with Lab.up(file) as lab, lab["a"].netlink as ipr:
        assert sum(1 for route in ipr.get_routes(family=socket.AF_INET) if route.get_attr("RTA_MULTIPATH")) == 64


def test_nothing_of_a_failed_lab_keeps_its_name(topology: Write, name: str) -> None:
    def fail(_: Step) -> None:
        raise InjectedError

    file = topology(EVERY_STEP)
    with pytest.raises(InjectedError):
        Lab.up(file, on_step=fail)
    assert state.find(name) is None
    assert not run_directory().exists()
    with Lab.up(file) as lab:
        assert lab.name == name


def open_descriptors() -> list[str]:
    return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink() and path.exists())
