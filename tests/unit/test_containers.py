"""Containers in a file: what may be said of them, what the plan makes of it, and which files they may be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import TopologyError, recipe
from lab.model import Fault, Faults, Topology, parse
from lab.model.container import Bind, Container
from lab.model.schema import schema
from lab.plan import make_plan
from lab.steps import OpenGate, RunCommand, StartContainer, StartService, Step, TakeNamespace

Data = dict[str, Any]
WEB: Data = {"kind": "container", "image": "busybox:lab"}


def topology(nodes: Data, **rest: Any) -> Topology:
    return parse({"name": "x", "nodes": nodes, **rest})


def container(said: Data, **rest: Any) -> Container:
    found = topology({"web": {**WEB, **said}}, **rest).nodes["web"].container
    assert found
    return found


def faults(nodes: Data, **rest: Any) -> list[Fault]:
    with pytest.raises(Faults) as caught:
        topology(nodes, **rest)
    return caught.value.faults


def test_everything_that_can_be_said_of_a_container() -> None:
    said = {
        "command": ["httpd", "-f", "-p", 80],
        "entrypoint": ["/init"],
        "environment": {"A": 1},
        "binds": ["./www:/www", "conf:/etc/x:rw", "./a/../b:/b:ro"],
        "capabilities": ["NET_ADMIN", "cap_sys_time"],
        "privileged": True,
        "user": 1000,
        "resources": {"memory": "64MB", "cpus": 0.5, "pids": 100},
        "exec": [["ip", "link"], ["true"]],
        "pull": True,
    }
    made = container(said)
    assert (made.image, made.command, made.entrypoint) == ("busybox:lab", ("httpd", "-f", "-p", "80"), ("/init",))
    assert made.binds == (Bind("www", "/www"), Bind("conf", "/etc/x", True), Bind("b", "/b"))
    assert made.capabilities == ("NET_ADMIN", "SYS_TIME")
    assert (made.resources.memory, made.resources.cpus, made.resources.pids) == (64_000_000, 0.5, 100)
    assert (made.environment, made.user, made.exec) == ({"A": "1"}, "1000", (("ip", "link"), ("true",)))
    assert made.privileged
    assert made.pull


def test_without_more_than_an_image_nothing_is_asked_for() -> None:
    made = container({})
    assert (made.command, made.entrypoint, made.user, made.pull, made.privileged) == (None, None, None, False, False)


def test_defaults_hold_for_containers_and_leave_other_nodes_alone() -> None:
    defaults = {"nodes": {"image": "busybox:lab", "environment": {"A": "1", "B": "1"}}}
    found = topology({"web": {"kind": "container", "environment": {"B": "2"}}, "plain": {}}, defaults=defaults)
    web = found.nodes["web"].container
    assert web
    assert (web.image, dict(web.environment)) == ("busybox:lab", {"A": "1", "B": "2"})
    assert web.where("image") == ("defaults", "nodes", "image")
    assert found.nodes["plain"].container is None


def test_a_container_without_an_image_is_told() -> None:
    assert [each.message for each in faults({"web": {"kind": "container"}})] == ["web is a container without an image"]


@pytest.mark.parametrize("key", ["image", "command", "binds", "exec", "privileged"])
def test_what_belongs_to_a_container_is_refused_at_another_node(key: str) -> None:
    values: Data = {"image": "a", "command": ["a"], "binds": ["./a:/a"], "exec": [["a"]], "privileged": True}
    (fault,) = faults({"web": {key: values[key]}})
    assert fault.message == f"web is no container: it has no {key}"
    assert fault.path == ("nodes", "web", key)


def test_two_binds_cannot_have_one_place() -> None:
    (fault,) = faults({"web": {**WEB, "binds": ["./a:/x", "./b:/x/"]}})
    assert (fault.message, fault.path) == ("two binds of web have the place /x", ("nodes", "web", "binds", 1))


@pytest.mark.parametrize(
    "bind",
    [
        *("../x:/x", "a/../../x:/x", "..:/x", "./a", "./a:b", "./a:/", "./a:/proc/sys", "./a:/x:z", "./a:/x/../../etc"),
        *("./a:/.lab/gate", "./a:/sys", "./a:/dev/null", ":/x", "./a:/x:rw:z", "./a\0b:/x", "./a://x"),
    ],
)
def test_a_hostile_bind_is_refused(bind: str) -> None:
    (fault,) = faults({"web": {**WEB, "binds": [bind]}})
    assert fault.path == ("nodes", "web", "binds", 0)


@pytest.mark.parametrize(
    "image",
    ["../containers/json", "a/../b", "a b", "A", "", "-x", "a?x=1", "a#b", "a//b", "x:", "x@sha256:1", "%2e%2e/x", "a" * 300],
)
def test_what_is_no_name_of_an_image_is_refused(image: str) -> None:
    assert faults({"web": {**WEB, "image": image}})


@pytest.mark.parametrize(
    "image",
    ["busybox", "busybox:1.36", "docker.io/library/busybox", "localhost:5000/a/b_c:x", "a@sha256:" + "0" * 64, "0a" * 32],
)
def test_names_of_images(image: str) -> None:
    assert container({"image": image}).image == image


@pytest.mark.parametrize(
    ("text", "amount"),
    [("64MB", 64_000_000), ("64MiB", 64 << 20), ("64m", 64_000_000), ("1.5 GB", 1_500_000_000), ("8000000", 8_000_000)],
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert container({"resources": {"memory": text}}).resources.memory == amount


@pytest.mark.parametrize(
    "said",
    [
        {"resources": {"memory": "1MB"}},
        {"resources": {"memory": 64}},
        {"resources": {"memory": "many"}},
        {"resources": {"cpus": 0}},
        {"resources": {"pids": 0}},
        {"resources": {"disk": "1GB"}},
        {"capabilities": ["NET_ADMINISTRATOR"]},
        {"user": "-u"},
        {"user": True},
        {"command": "httpd -f"},
        {"exec": ["ip", "link"]},
        {"environment": {"A=B": "1"}},
    ],
)
def test_what_docker_would_not_take_is_refused_in_the_file(said: Data) -> None:
    assert faults({"web": {**WEB, **said}})


def test_the_plan_starts_containers_first_and_opens_their_gates_last() -> None:
    nodes: Data = {"a": {}, "web": {**WEB, "command": ["httpd", "-f"], "exec": [["ip", "link"]]}, "b": WEB}
    steps = make_plan(topology(nodes, links=[{"endpoints": ["a", "web"]}])).steps
    kinds = [type(step) for step in steps]
    assert kinds[:2] == [StartContainer, StartContainer]
    assert kinds[-3:] == [OpenGate, OpenGate, RunCommand]
    assert [step.node for step in steps if isinstance(step, TakeNamespace)] == ["web", "b"]


def test_the_stages_of_a_plan_are_what_lies_between() -> None:
    nodes: Data = {"web": {**WEB, "services": {"s": {"command": ["sleep", "1"]}}, "exec": [["true"]]}}
    plan = make_plan(topology(nodes))
    (stage,) = plan.stages
    assert [*plan.containers, *stage.network, *stage.services, *plan.commands] == list(plan.steps)
    assert not [step for step in stage.network if isinstance(step, (StartContainer, OpenGate, StartService))]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            StartContainer("web", container({})),
            "start a container for web from the image busybox:lab, without a network, its command held back",
        ),
        (
            StartContainer(
                "web",
                container(
                    {"binds": ["./w:/www"], "resources": {"memory": "64MB", "pids": 9}, "privileged": True, "user": "www"}
                ),
                ("SYS_RESOURCE",),
            ),
            "start a container for web from the image busybox:lab, without a network, its command held back (memory 64000000 "
            "bytes, 9 processes, w at /www, as www, privileged, without SYS_RESOURCE, which this host has not)",
        ),
        (TakeNamespace("web"), "take the network namespace of the container of web, with lab's baseline of sysctls"),
        (OpenGate("web", container({"command": ["echo", "a b"]})), "let the container of web run its command echo 'a b'"),
        (OpenGate("web", container({})), "let the container of web run the command of busybox:lab"),
        (RunCommand("web", ("ip", "link")), "run ip link in the container of web"),
    ],
)
def test_steps_in_words(step: Step, words: str) -> None:
    assert step.describe() == words


def test_an_editor_is_told_of_every_key() -> None:
    node = schema()["$defs"]["Node"]["properties"]
    assert "image of a container" in node["image"]["description"]
    assert "container" in str(node["kind"])
    assert node["routes"]


def written(folder: Path, *binds: str) -> Path:
    file = folder / "lab.yaml"
    file.write_text(f"name: x\nnodes:\n  web: {{kind: container, image: a, binds: [{', '.join(binds)}]}}\n")
    return file


def test_a_bind_is_the_real_path_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "also").symlink_to("www")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    recipe.read(written(tmp_path, "./www:/a", "also:/b", f"{tmp_path}/www:/c", ".:/d"))
    assert recipe.bind_source(tmp_path / "link", Bind("also", "/b")) == tmp_path.resolve() / "www"


@pytest.mark.parametrize(
    ("bind", "said"),
    [
        ("/etc:/x", "/etc lies outside the topology's folder"),
        ("out:/x", "out lies outside the topology's folder: it leads to /etc"),
        ("out/passwd:/x", "out/passwd lies outside the topology's folder: it leads to /etc/passwd"),
        ("none:/x", "none cannot be given to the container: No such file or directory"),
        ("round:/x", "round cannot be given to the container:"),
    ],
)
def test_what_leads_out_of_the_folder_is_refused_at_its_place(tmp_path: Path, bind: str, said: str) -> None:
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(TopologyError) as caught:
        recipe.read(written(tmp_path, ".:/fine", bind))
    (problem,) = caught.value.problems
    assert problem.message.startswith(said)
    assert problem.place
    assert problem.place.line == 3


def test_a_topology_that_lies_nowhere_gives_no_files() -> None:
    with pytest.raises(TopologyError, match="lies in no folder"):
        recipe.bind_source(None, Bind("a", "/a"))
