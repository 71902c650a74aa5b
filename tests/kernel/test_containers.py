"""Nodes that are containers, beside plain hosts: made by a Docker daemon of the tests' own, with the network of any node."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import requests
from scapy.layers.inet6 import ICMPv6EchoReply
from support.commands import LAB, Said, lab, started, well
from support.dockerd import IMAGE, Daemon, archive, program
from support.mortal import Mortals, Order
from support.registry import registry
from support.world import look, until_as

from lab import HostError, Lab, StepError, TopologyError, host, live, plan, recipe, state, steps, undo
from lab.steps import Step
from lab.substrate import contained
from lab.substrate.containers import Docker

pytestmark = pytest.mark.root

WITHIN = 20.0
MIXED = """\
name: mixed
nodes:
  lan: {kind: switch}
  plain: {}
  web:
    kind: container
    image: busybox:lab
    command: [sh, -c, "ip addr; ip -6 route; echo \\"$HELLO\\"; exec httpd -f -p 80 -h /www"]
    environment: {HELLO: "a  *  b"}
    binds: ["./www:/www", "./data:/data:rw"]
    resources: {memory: 64MB, cpus: 0.5, pids: 50}
    sysctls: {net.ipv4.ip_forward: 1}
    routes: [{to: 10.9.0.0/16, via: 10.0.0.1}]
    services:
      beside: {command: [busybox, httpd, -f, -p, "8080", -h, /etc], ready: {listen: tcp/8080}}
    exec: [[touch, /data/executed], [sh, -c, 'test "$HOSTNAME" = web']]
  other: {kind: container, image: "busybox:lab", user: www, capabilities: [NET_ADMIN]}
links:
  - {endpoints: [plain, lan], mtu: 9000, addresses: {plain: [10.0.0.1/24, "2001:db8::1/64"]}, nodad: true}
  - {endpoints: [web, lan], mtu: 9000, addresses: {web: [10.0.0.2/24, "2001:db8::2/64"]}, nodad: true}
  - {endpoints: [other, web], addresses: {web: 10.1.0.2/24, other: [10.1.0.3/24, "2001:db8:1::3/64"]}, netem: {rate: 10mbit}}
"""
SEVERAL = """\
name: several
defaults: {nodes: {kind: container, image: "busybox:lab"}}
nodes:
  bare: {image: "bare:lab", command: [/sleep, "1000"]}
  mighty: {privileged: true}
  again: {command: [sh, -c, "echo begins; exec sleep 1000"]}
  taken: {}
"""
ONE = "name: one\nnodes: {{c: {{kind: container, image: '{image}', command: {command}}}}}\n"


@pytest.fixture(autouse=True)
def no_container_is_left(dockerd: Daemon) -> Iterator[None]:
    before = set(dockerd.containers())
    yield
    assert set(dockerd.containers()) <= before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "www").mkdir()
    (folder / "data").mkdir()
    (folder / "www" / "index.html").write_text("from the container\n")
    (folder / "mixed.yaml").write_text(MIXED)
    return folder


@pytest.fixture(scope="module")
def mixed(dockerd: Daemon, folder: Path) -> Iterator[Lab]:
    with Lab.up(folder / "mixed.yaml", name=live.unique_name("mixed"), detach=True) as made:
        for node in ("plain", "web", "other"):
            made[node].run(["true"])  # what runs commands on it stays, and is no leak of a test's
        yield made


@pytest.fixture(scope="module")
def several(dockerd: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Each test that ends a container has one of its own."""
    file = tmp_path_factory.mktemp("several") / "several.yaml"
    file.write_text(SEVERAL)
    with Lab.up(file, name=live.unique_name("several"), detach=True) as made:
        for node in ("bare", "mighty"):
            made[node].run(["/sleep", "0"] if node == "bare" else ["true"])
        yield made


def one(folder: Path, command: Sequence[str], image: str = IMAGE, more: str = "") -> Path:
    file = folder / "one.yaml"
    file.write_text(ONE.format(image=image, command=json.dumps(command)) + more)
    return file


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What a living one is like.


def test_plain_hosts_and_containers_reach_each_other_in_both_families_with_whole_jumbo_frames(mixed: Lab) -> None:
    for address in ("10.0.0.2", "2001:db8::2"):
        mixed["plain"].run(["ping", "-c1", "-W5", "-M", "do", "-s", "8900", address])
    for address in ("10.0.0.1", "2001:db8::1"):
        mixed["web"].run(["ping", "-c1", "-W5", address])
    assert mixed["plain"].run(["busybox", "wget", "-q", "-O", "-", "http://10.0.0.2/"]).stdout == "from the container\n"


def test_containers_reach_each_other_over_a_cable_that_is_impaired_as_the_file_says(mixed: Lab) -> None:
    mixed["web"].run(["ping", "-c1", "-W5", "10.1.0.3"])
    argv = ["nsenter", f"--net={mixed['other'].ns}", "tc", "qdisc"]
    assert "rate 10Mbit" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_the_command_runs_only_once_addresses_and_routes_are_there(mixed: Lab) -> None:
    container = mixed["web"].container
    assert container
    said = container.log
    assert all(f"inet {address}" in said for address in ("10.0.0.2/24", "10.1.0.2/24"))
    assert "inet6 2001:db8::2/64" in said
    assert "2001:db8::/64" in said
    assert "\na  *  b\n" in said


def test_sysctls_and_the_baseline_are_those_of_every_node(mixed: Lab) -> None:
    web, plain = mixed["web"].sysctl, mixed["plain"].sysctl
    assert web["net.ipv4.ip_forward"] == "1"
    for name in ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6", "net.ipv4.conf.default.rp_filter"):
        assert web[name] == plain[name] == "0"


def test_a_service_of_its_node_is_a_program_of_the_host_in_the_containers_network(mixed: Lab) -> None:
    said = mixed["plain"].run(["busybox", "wget", "-q", "-O", "-", "http://10.0.0.2:8080/hostname"]).stdout
    assert said == Path("/etc/hostname").read_text()
    assert mixed["web"].services["beside"].state().running


def test_commands_have_the_files_the_environment_and_the_limits_of_the_container(mixed: Lab) -> None:
    web = mixed["web"]
    assert web.run(["cat", "/www/index.html"]).stdout == "from the container\n"
    assert web.run(["sh", "-c", 'echo "$HELLO" $HOSTNAME; pwd; hostname']).stdout == "a  *  b web\n/\nweb\n"
    assert web.run(["sh", "-c", "exit 3"], check=False).status == 3
    assert web.run(["sh", "-c", "kill -TERM $$"], check=False).status == -signal.SIGTERM
    own = web.run(["cat", "/proc/self/cgroup"]).stdout
    assert own == web.run(["cat", "/proc/1/cgroup"]).stdout
    mask = "grep CapBnd /proc/self/status /proc/1/status | cut -f 2 | uniq | wc -l"
    assert web.run(["sh", "-c", mask]).stdout == "1\n"


def test_commands_run_as_the_containers_user(mixed: Lab) -> None:
    assert mixed["other"].run(["sh", "-c", "id -u; id -g"]).stdout == "33\n33\n"
    assert mixed["other"].run(["ip", "link", "set", "eth0", "down"], check=False).status != 0


def test_a_program_that_the_image_has_not_is_no_command(mixed: Lab) -> None:
    with pytest.raises(FileNotFoundError):
        mixed["web"].run(["apt-get"])


def test_a_bind_is_read_only_unless_the_file_says_otherwise(mixed: Lab, folder: Path) -> None:
    refused = mixed["web"].run(["touch", "/www/new"], check=False)
    assert "Read-only file system" in refused.stderr
    mixed["web"].run(["touch", "/data/new"])
    assert (folder / "data" / "new").exists()


def test_what_the_file_has_run_in_it_was_run(mixed: Lab, folder: Path) -> None:
    assert (folder / "data" / "executed").exists()


def test_limits_and_labels_are_what_docker_was_asked_for(mixed: Lab, dockerd: Daemon) -> None:
    with dockerd.client() as client:
        web = client.containers.get(f"lab-{mixed.record.uuid}-web").attrs
    host = web["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64_000_000, 500_000_000, 50)
    assert (host["NetworkMode"], host["RestartPolicy"]["Name"], host["Privileged"]) == ("none", "no", False)
    assert web["Config"]["Labels"]["lab.name"] == mixed.name
    assert web["Config"]["Labels"]["lab.uuid"] == mixed.record.uuid


def test_a_capture_at_a_containers_interface_sees_what_passes(mixed: Lab) -> None:
    with mixed.capture("web:eth0", filter="icmp6") as wire:
        mixed["plain"].run(["ping", "-c1", "-W5", "2001:db8::2"])
        wire.expect(lambda packet: ICMPv6EchoReply in packet, "the reply")


def test_explain_says_why_a_container_dropped_a_packet(mixed: Lab) -> None:
    with mixed.explain() as explained:
        with mixed["plain"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("10.0.0.2", 9))
        explained.expect("web", "NO_SOCKET")


def test_the_commands_of_lab_work_on_it_alike(mixed: Lab) -> None:
    shown = well("inspect", mixed.name, "-f", "json").json("lab")["nodes"]["web"]
    assert (shown["kind"], shown["container"]["state"]) == ("container", "running")
    assert "10.0.0.2/24" in str(shown["state"])
    assert lab("exec", mixed.name, "web", "--", "sh", "-c", 'echo $LAB_NODE "$HELLO"; exit 4') == Said(4, "web a  *  b\n", "")
    assert lab("exec", mixed.name, "web", "apt-get").status == 125
    assert "inet 10.0.0.2/24" in well("logs", mixed.name, "web", "container").stdout
    told = well("-f", "json", "logs", mixed.name, "web").json("logs")
    assert set(told) == {"container", "beside"}
    asked = subprocess.run(
        [*LAB, "shell", mixed.name, "web"], input="echo $0 $LAB_NAME", capture_output=True, text=True, check=True
    )
    assert asked.stdout == f"sh {mixed.name}\n"


def test_signals_reach_a_command_in_it_and_nothing_of_its_session_is_left(mixed: Lab) -> None:
    with started("exec", mixed.name, "web", "--", "sh", "-c", "sleep 4711 & echo there; wait") as process:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN) == 128 + signal.SIGTERM
    until(lambda: "4711" not in mixed["web"].run(["ps"]).stdout)


# How it ends.


def test_one_that_ends_is_seen_and_fails_the_test_whose_lab_it_is_of(dockerd: Daemon, tmp_path: Path) -> None:
    one(tmp_path, ["sh", "-c", "trap 'echo the last word; exit 7' TERM; while :; do sleep 0.05; done"])
    (tmp_path / "test_it.py").write_text(
        "import signal, pytest\n"
        "@pytest.mark.lab('./one.yaml')\n"
        "def test_dies(lab):\n"
        "    '''It dies.'''\n"
        "    lab['c'].run(['kill', '-TERM', '1'])\n"
        "    while lab['c'].container.contained.lives(): pass\n"
        "@pytest.mark.lab('./one.yaml')\n"
        "def test_is_killed(lab):\n"
        "    '''It is killed by the test itself.'''\n"
        "    lab['c'].container.kill()\n"
        "    assert lab['c'].container.state().status == 137\n"
    )
    said = lab("run", tmp_path / "test_it.py", "-f", "json", timeout=90)
    checks = {each["title"]: each for each in said.json("run")["checks"]}
    assert {name: each["outcome"] for name, each in checks.items()} == {
        "It dies": "failed",
        "It is killed by the test itself": "held",
    }
    assert "ended with status 7" in str(checks["It dies"])
    assert "the last word" in str(checks["It dies"])


def ends(file: Path) -> None:
    """It may end a moment after `up` has looked at it, and is then told by whoever looks next."""
    with Lab.up(file, name=live.unique_name("ends")) as made:
        container = made["c"].container
        assert container
        until(lambda: not container.contained.lives())
        why = f"it {container.state()}: stay in the foreground\n{container.last_lines()}"
        raise StepError("go on", "c", why=why)


@pytest.mark.parametrize(
    ("command", "image", "said"),
    [
        (["sh", "-c", "echo the last word; exit 3"], IMAGE, ["ended with status 3", "the last word", "stay in the foreground"]),
        (["no-such-program"], IMAGE, ["ended with status 127", "cannot be executed"]),
    ],
)
def test_a_command_that_does_not_go_on_fails_up_with_its_last_lines_and_leaves_nothing(
    dockerd: Daemon, tmp_path: Path, command: list[str], image: str, said: list[str]
) -> None:
    with pytest.raises(StepError) as caught:
        ends(one(tmp_path, command, image))
    assert all(each in str(caught.value) for each in said), caught.value


def test_a_command_of_the_file_that_fails_fails_up_with_what_it_said(dockerd: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(
        "name: one\nnodes: {c: {kind: container, image: 'busybox:lab', exec: [[sh, -c, 'echo why not >&2; exit 5']]}}\n"
    )
    with pytest.raises(StepError, match=r"(?s)run sh -c .* in the container of c.*status 5.*why not"):
        Lab.up(file, name=live.unique_name("fails"))


def test_one_that_is_started_again_by_others_never_runs_without_its_links(several: Lab, dockerd: Daemon) -> None:
    container = several["again"].container
    assert container
    until(lambda: container.log == "begins\n")
    with dockerd.client() as client:
        client.api.restart(container.contained.id, timeout=0)
    assert "started again, not by lab: it has no links" in str(container.state())
    assert container.log == "begins\n"
    with pytest.raises(StepError, match="its container: it has ended"):
        several["again"].run(["true"])


def test_one_that_others_removed_is_told_and_so_is_whoever_took_its_name_left_alone(several: Lab, dockerd: Daemon) -> None:
    name, images = f"lab-{several.record.uuid}-taken", {f"lab-{several.record.uuid}-taken": IMAGE}
    with dockerd.client() as client, Docker() as docker:
        docker.remove_all(several.record.uuid, images, [name])
        docker.remove_all(several.record.uuid, images, [name])
        assert "was removed, not by lab" in repr(several["taken"].container)
        stranger = client.api.create_container(IMAGE, ["true"], name=name)["Id"]
        docker.remove_all(several.record.uuid, images, [name])
        client.api.remove_container(stranger)


# What it may be like.


def test_an_image_without_shell_and_libc_will_do(several: Lab) -> None:
    assert several["bare"].run(["/sleep", "0"]).status == 0
    assert several["bare"].container
    assert several["bare"].container.state().running


def test_privileged_is_what_this_host_can_give(several: Lab) -> None:
    several["mighty"].run(["mount", "-t", "tmpfs", "x", "/tmp"])
    several["mighty"].run(["sh", "-c", "echo 7 > /proc/sys/net/ipv4/igmp_max_memberships"])
    steps = plan.make_plan(several.topology, without_capabilities=contained.lacking_capabilities()).containers
    words = next(step.describe() for step in steps if step.node == "mighty")
    assert ("privileged, without" in words) == bool(contained.lacking_capabilities())


# Whose it is.


def test_two_labs_of_one_file_live_side_by_side_and_neither_takes_the_others_or_a_strangers(
    dockerd: Daemon, tmp_path: Path
) -> None:
    file = one(tmp_path, ["sleep", "1000"])
    with dockerd.client() as client:
        stranger = client.containers.run(IMAGE, ["sleep", "1000"], detach=True, network_mode="none", name="stranger")
        try:
            with Lab.up(file, name=live.unique_name("a")) as first:
                with Lab.up(file, name=live.unique_name("b")) as second:
                    assert len(dockerd.containers(lab__node="c")) == 2
                    second.down()
                undo.prune()
                assert dockerd.containers(lab__node="c") == [f"lab-{first.record.uuid}-c"]
                first["c"].run(["true"])
            stranger.reload()
            assert stranger.status == "running"
        finally:
            stranger.remove(force=True)


def fails_before(step: int, found: recipe.Recipe) -> None:
    seen: list[Step] = []

    def fail(each: Step) -> None:
        seen.append(each)
        if len(seen) > step:
            raise RuntimeError("injected")

    with pytest.raises(RuntimeError, match="injected"):
        Lab.up(found, name=live.unique_name("fault"), on_step=fail)


@pytest.mark.parametrize("kind", [steps.StartContainer, steps.OpenGate])
def test_a_fault_before_any_step_of_a_container_undoes_all_that_was_made(
    dockerd: Daemon, tmp_path: Path, kind: type[Step]
) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("name: two\ndefaults: {nodes: {kind: container, image: 'busybox:lab'}}\nnodes: {a: {}, b: {}}\n")
    found, before = recipe.read(file), look()
    steps = [at for at, step in enumerate(host.planned(found).steps) if isinstance(step, kind)]
    fails_before(steps[-1], found)
    until_as(before)


def killed(dockerd: Daemon, file: Path, orders: Sequence[Order]) -> Iterator[str]:
    with Mortals() as mortals:
        for order in orders:
            fate = mortals(order)
            undo.prune()
            left = dockerd.containers(lab__root=str(state.root()), lab__name=order.lab)
            if fate.status == 0:
                live.take_down(live.find(order.lab), order.lab)
                left = []
            assert not left, fate
            yield fate.at


def test_killed_while_it_makes_containers_it_leaves_nothing_that_prune_does_not_find(dockerd: Daemon, tmp_path: Path) -> None:
    file, name = one(tmp_path, ["sleep", "1000"]), live.unique_name("killed")
    orders = [Order("up", name, str(file), after=seconds) for seconds in (0.15, 0.3, 0.45, 0.7)]
    assert len(list(killed(dockerd, file, orders))) == len(orders)


@pytest.mark.soak
def test_killed_before_any_change_it_leaves_nothing_that_prune_does_not_find(dockerd: Daemon, tmp_path: Path) -> None:
    file, name = one(tmp_path, ["sleep", "1000"]), live.unique_name("killed")
    orders = [Order("up", name, str(file), change) for change in range(1, 60)]
    assert any("container" in at for at in killed(dockerd, file, orders))


def test_what_a_daemon_finishes_after_its_lab_is_gone_is_found_by_its_label(dockerd: Daemon) -> None:
    gone = state.new_uuid()
    labels = {"lab.uuid": gone, "lab.root": str(state.root()), "lab.node": "c"}
    with dockerd.client() as client:
        client.api.create_container(IMAGE, ["true"], name=f"lab-{gone}-c", labels=labels)
        others = client.api.create_container(IMAGE, ["true"], labels={**labels, "lab.root": "/run/elsewhere"})["Id"]
        try:
            assert [each.name for each in undo.prune()] == [f"lab-{gone}-c"]
        finally:
            client.api.remove_container(others)


def test_a_lab_whose_daemon_does_not_answer_keeps_its_record_until_it_does(
    dockerd: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = live.unique_name("kept")
    made = Lab.up(one(tmp_path, ["sleep", "1000"]), name=name, detach=True)
    with monkeypatch.context() as patch:
        patch.setattr("lab.substrate.containers.Docker.__init__", lambda *_: (_ for _ in ()).throw(HostError("it is away")))
        with pytest.raises(Exception, match="remove the containers: it is away"):
            made.down()
    assert state.find(name)
    assert name in {each.name for each in undo.prune()}
    assert not state.find(name)


# What lacks.


def test_an_image_that_docker_has_not_is_told_at_its_place_and_never_pulled(dockerd: Daemon, tmp_path: Path) -> None:
    file = one(tmp_path, ["true"], "no/such-image:1")
    said = lab("up", file)
    assert said.status == 3
    assert f"{file}:2:" in said.stderr
    assert "Docker has no image no/such-image:1" in said.stderr
    assert "docker pull no/such-image:1; or write pull: true" in said.stderr
    assert lab("validate", file).status == 3


def test_an_image_is_pulled_where_the_file_says_so_and_only_there(dockerd: Daemon, tmp_path: Path) -> None:
    with registry(archive(program(), "sleep", [], {}), ["/sleep", "1000"]) as image:
        file = tmp_path / "pulled.yaml"
        file.write_text(f"name: p\nnodes: {{c: {{kind: container, image: '{image}'}}}}\n")
        with pytest.raises(HostError, match="Docker has no image"):
            Lab.up(file, name=live.unique_name("pulled"))
        file.write_text(f"name: p\nnodes: {{c: {{kind: container, image: '{image}', pull: true}}}}\n")
        with Lab.up(file, name=live.unique_name("pulled")) as made:
            made["c"].run(["/sleep", "0"])
    with dockerd.client() as client:
        client.images.remove(image)
    with pytest.raises(HostError, match="Docker could not pull the image"):
        Lab.up(file, name=live.unique_name("pulled"))


def test_where_no_daemon_answers_it_is_said_with_what_to_do(dockerd: Daemon, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/docker.sock"
    said = lab("up", one(tmp_path, ["true"]), env={"DOCKER_HOST": nowhere})
    assert (said.status, f"no Docker daemon answers at {nowhere}: No such file or directory" in said.stderr) == (3, True)
    assert "systemctl start docker" in said.stderr


def test_a_daemon_that_hangs_up_is_told(dockerd: Daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(HostError, match=r"Docker .*docker\.sock"):
        listening.bind(f"{tmp_path}/docker.sock")
        listening.listen()
        threading.Thread(target=hang_up, args=(listening, 2), daemon=True).start()
        Docker({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    with pytest.raises(HostError, match="does not answer any more"), Docker():
        raise requests.exceptions.ConnectionError("it hung up")


def hang_up(listening: socket.socket, times: int) -> None:
    for _ in range(times):
        listening.accept()[0].close()


def test_who_may_not_use_the_socket_is_told(dockerd: Daemon) -> None:
    script = (
        "import os, sys\n"
        "from lab import HostError\n"
        "from lab.substrate.containers import Docker\n"
        "import docker.errors, docker.types\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try: Docker()\n"
        "except HostError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert f"no permission to talk to Docker at {dockerd.host}" in said
    assert "group docker" in said


def test_without_root_it_is_said(dockerd: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.substrate.userns.is_initial", lambda: False)
    with pytest.raises(HostError, match="containers cannot be made without root"):
        Lab.up(one(tmp_path, ["true"]), name=live.unique_name("rootless"))


def test_a_bind_that_comes_to_lead_out_of_the_folder_is_refused_by_up_too(dockerd: Daemon, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    file = tmp_path / "one.yaml"
    file.write_text("name: one\nnodes: {c: {kind: container, image: 'busybox:lab', binds: ['./www:/www']}}\n")
    found = recipe.read(file)
    (tmp_path / "www").rmdir()
    (tmp_path / "www").symlink_to("/etc")
    with pytest.raises(TopologyError, match="www lies outside the topology's folder: it leads to /etc"):
        Lab.up(found, name=live.unique_name("leads"))
