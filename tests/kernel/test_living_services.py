"""Services of nodes as processes: started in order, ready when they say, seen when they die, gone with the lab."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import REPOSITORY, until

from lab import Lab, recipe
from lab.errors import HostError, StepError
from lab.roles.spec import Ready, ServiceSpec
from lab.services.living import Service

pytestmark = pytest.mark.root

TWO = (
    "name: {name}\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, b], addresses: {{a: 10.0.0.1/24, b: 10.0.0.2/24}}}}]\n"
)
SERVER = "import socket, time; s = socket.create_server(('', {port})); time.sleep(1000)"
Write = Callable[[str], Path]
Up = Callable[..., contextlib.AbstractContextManager[Lab]]


_MEET = """
import socket, time
s = socket.create_server(('', 80))
while True:
    try:
        socket.create_connection(('{}', 80))
        break
    except OSError:
        time.sleep(.01)
open('met', 'w')
time.sleep(1000)
"""


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-c", program)


def shell(program: str) -> tuple[str, ...]:
    return ("sh", "-c", program)


def lab_command(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "lab", *words]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=check, timeout=60)


@pytest.fixture
def up(topology: Write) -> Up:
    """Brings a lab of two nodes up with these services."""

    @contextlib.contextmanager
    def bring(*specs: ServiceSpec, **options: object) -> Iterator[Lab]:
        with Lab.up(dataclasses.replace(recipe.read(topology(TWO)), services=specs), **options) as lab:  # type: ignore[arg-type]
            yield lab

    return bring


def the(lab: Lab, name: str = "daemon", node: str = "a") -> Service:
    return lab[node].services[name]


@pytest.mark.parametrize(
    ("ready", "program"),
    [
        (Ready(listen=("tcp/80",)), SERVER.format(port=80)),
        (
            Ready(listen=("udp/53", "tcp/53")),
            "import socket; u = socket.socket(2, 2); u.bind(('', 53)); " + SERVER.format(port=53),
        ),
        (Ready(file="here"), "open('here', 'w'); import time; time.sleep(1000)"),
        (Ready(file="/run/daemon.pid"), "open('/run/daemon.pid', 'w'); import time; time.sleep(1000)"),
        (Ready(line="^ready, at last$"), "print('not ready'); print('ready, at last'); import time; time.sleep(1000)"),
        (Ready(answer=("test", "-e", "here")), "open('here', 'w'); import time; time.sleep(1000)"),
        (
            Ready(counter="UdpOutDatagrams"),
            "import socket, time; socket.socket(2, 2).sendto(b'x', ('10.0.0.2', 9)); time.sleep(1000)",
        ),
    ],
    ids=["a port", "two ports", "a file of its folder", "a file of its /run", "a line", "an answer", "a counter"],
)
def test_a_service_is_ready_when_what_it_promises_is_there(up: Up, ready: Ready, program: str) -> None:
    """Beside it one that never keeps the same promise: then `up` fails, and says what is missing and what was said."""
    with up(ServiceSpec("a", "daemon", python(program), ready=ready)) as lab:
        assert the(lab).state().running
        the(lab).wait_ready()
    idle = shell("echo I do nothing; exec sleep 1000")
    with pytest.raises(StepError, match=r"it was not ready in time: .*\n.*\n +I do nothing") as failure:
        up(ServiceSpec("a", "daemon", idle, ready=ready, timeout=1)).__enter__()
    assert failure.value.node == "a"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("echo oh no >&2; exit 3", "it ended with status 3 before it was ready\n    its last lines:\n    oh no"),
        ("exit 1", "it ended with status 1 before it was ready\n    its last lines:\n    (it wrote nothing)"),
        ("kill -9 $$", "it was killed by SIGKILL before it was ready"),
        ("sleep 1000 & exit 0", "it ended with status 0 before it was ready: a service stays in the foreground"),
    ],
)
def test_a_service_that_ends_before_it_is_ready_fails_up_with_its_last_lines(up: Up, program: str, said: str) -> None:
    with pytest.raises(StepError) as failure:
        up(ServiceSpec("a", "daemon", shell(program), ready=Ready(file="never"))).__enter__()
    assert said in str(failure.value)
    assert "step failed on node a: start daemon" in str(failure.value)


def test_a_program_that_the_host_lacks_is_told_before_anything_is_made(up: Up) -> None:
    with pytest.raises(
        HostError, match=r"service a:daemon: this host has no program 'no-such-daemon'\n.*apt-get install nothing"
    ):
        up(ServiceSpec("a", "daemon", ("no-such-daemon",), package="nothing")).__enter__()


def test_services_of_one_node_start_in_turn_and_nodes_side_by_side(up: Up) -> None:
    """The second one of a node finds what the first one made; the two nodes wait for each other, which they can only
    together."""
    after = shell("test -e /run/services/first/met && touch /run/second && sleep 1000")
    told: list[str] = []
    with up(
        ServiceSpec("a", "first", python(_MEET.format("10.0.0.2")), ready=Ready(file="met")),
        ServiceSpec("a", "second", after, ready=Ready(file="/run/second")),
        ServiceSpec("b", "first", python(_MEET.format("10.0.0.1")), ready=Ready(file="met")),
        on_step=lambda step: told.append(step.describe()),
    ) as lab:
        assert [str(service.spec) for service in lab.services] == ["a:first", "a:second", "b:first"]
    started = [words for words in told if words.startswith("start ")]
    assert sorted(started) == [
        "start first on a, and wait until met exists",
        "start first on b, and wait until met exists",
        "start second on a, and wait until /run/second exists",
    ]
    assert started[-1] == "start second on a, and wait until /run/second exists"


def test_a_service_has_its_files_its_folder_its_directories_and_a_known_environment(up: Up) -> None:
    show = shell("pwd; env | sort; cat conf; touch /var/lib/of-a-daemon/here; echo; echo done; sleep 1000")
    spec = ServiceSpec(
        "a", "daemon", show, {"MY": "own"}, {"conf": "x = 1\n"}, ("/var/lib/of-a-daemon",), ready=Ready(line="^done$")
    )
    with up(spec) as lab:
        lines = the(lab).log.splitlines()
        assert lines[0] == "/run/services/daemon"
        names = {line.partition("=")[0] for line in lines[1:-3]}
        assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"HOME", "LANG", "MY", "PATH"}
        assert lines[-3:] == ["x = 1", "", "done"]
        assert not Path("/var/lib/of-a-daemon").exists()
        assert lab["a"].run(["ls", "/var/lib/of-a-daemon"]).stdout == "here\n"


def test_a_services_own_user_owns_its_folder_and_its_directories(up: Up) -> None:
    write = shell("setpriv --reuid=nobody --regid=nogroup --clear-groups touch mine /var/lib/of-a-daemon/mine; sleep 1000")
    spec = ServiceSpec("a", "daemon", write, directories=("/var/lib/of-a-daemon",), owner="nobody", ready=Ready(file="mine"))
    with up(spec) as lab:
        lab["a"].wait((the(lab).log_path.parent.parent / "own/var/lib/of-a-daemon/mine").exists, what="it wrote")
    with pytest.raises(HostError, match="runs as the user no-such-user, whom this host does not know"):
        up(dataclasses.replace(spec, owner="no-such-user")).__enter__()


def test_a_service_is_stopped_killed_and_restarted_and_its_log_goes_on(up: Up) -> None:
    program = python("import socket, time; print('begin'); " + SERVER.format(port=80))
    with up(ServiceSpec("a", "daemon", program, ready=Ready(listen=("tcp/80",)))) as lab:
        daemon = the(lab)
        first = daemon.state().pid
        daemon.restart()
        second = daemon.state().pid
        assert first != second
        assert daemon.log == "begin\nbegin\n"
        assert daemon.stop() == -signal.SIGTERM
        assert str(daemon.state()) == "stopped (killed by SIGTERM)"
        assert not daemon.state().died
        with pytest.raises(StepError, match="it was killed by SIGTERM before it was ready"):
            daemon.wait_ready()
        daemon.start()
        daemon.wait_ready()
        with pytest.raises(StepError, match="it runs already: stop it first"):
            daemon.start()
        assert daemon.kill() == -signal.SIGKILL


def test_what_ignores_sigterm_is_killed_with_its_children_when_its_time_is_over(up: Up) -> None:
    stubborn = shell("trap '' TERM; sleep 1000 & touch here; while :; do sleep 1000; done")
    with up(ServiceSpec("a", "daemon", stubborn, ready=Ready(file="here"))) as lab:
        assert the(lab).stop(timeout=0.1) == -signal.SIGKILL
        until("its children are gone", lambda: lab["a"].run(["pgrep", "-x", "sleep"], check=False).status == 1)


def test_a_service_that_dies_by_itself_is_told_from_one_that_was_stopped(up: Up) -> None:
    with up(ServiceSpec("a", "daemon", ("sleep", "1000"))) as lab:
        lab["a"].run(["pkill", "-x", "sleep"])
        until("its end is seen", lambda: not the(lab).state().running)
        assert str(the(lab).state()) == "killed by SIGTERM"
        assert the(lab).state().died


def test_a_stale_file_of_its_last_life_does_not_make_a_service_ready(up: Up) -> None:
    once = shell("test -e began || { touch began here; }; sleep 1000")
    with up(ServiceSpec("a", "daemon", once, ready=Ready(file="here"))) as lab:
        the(lab).stop()
        the(lab).start()
        with pytest.raises(StepError, match="there is no file here"):
            the(lab).wait_ready(timeout=0.3)


def test_a_detached_labs_services_live_on_and_are_found_by_another_process(up: Up) -> None:
    spec = ServiceSpec("a", "daemon", python(SERVER.format(port=80)), ready=Ready(listen=("tcp/80",)))
    with up(spec, detach=True) as lab:
        program = f"from lab import Lab; d = Lab.attach('{lab.name}')['a'].services['daemon']; print(d.state()); d.restart()"
        seen = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert seen.stdout == "running\n"
        assert the(lab).state().running
        assert the(lab).spec == the(Lab.attach(lab.name)).spec == spec


def test_the_same_lab_twice_with_the_same_service(up: Up) -> None:
    spec = ServiceSpec("a", "daemon", python(SERVER.format(port=80)), ready=Ready(listen=("tcp/80",)))
    with up(spec) as one, up(spec, name=f"{one.name}2") as two:
        assert the(one).state().running
        the(two).kill()
        assert the(one).state().running


def test_without_waiting_services_are_started_and_nobody_asks_whether_they_are_ready(up: Up) -> None:
    with up(ServiceSpec("a", "daemon", ("sleep", "1000"), ready=Ready(file="never")), wait=False) as lab:
        assert the(lab).state().running


def test_inspect_and_logs_show_what_runs_what_died_and_what_it_said(up: Up) -> None:
    talk = shell("echo one; echo two; touch here; exec sleep 1000")
    specs = [ServiceSpec("a", name, talk, ready=Ready(file="here")) for name in ("first", "second")]
    with up(*specs, detach=True) as lab:
        the(lab, "second").stop()
        table = lab_command("inspect", lab.name).stdout
        assert re.search(r"^a +first +running +sh -c echo one", table, re.MULTILINE)
        assert re.search(r"^a +second +stopped \(killed by SIGTERM\) ", table, re.MULTILINE)
        lab["a"].run(["pkill", "-x", "sleep"])
        until("its end is seen", lambda: not the(lab, "first").state().running)
        found = json.loads(lab_command("inspect", lab.name, "-f", "json").stdout)["data"]["nodes"]
        assert found["a"]["services"]["first"] == {
            "running": False,
            "pid": None,
            "status": -signal.SIGTERM,
            "state": "killed by SIGTERM",
        }
        assert found["b"]["services"] == {}
        assert lab_command("logs", lab.name, "a", "first").stdout == "one\ntwo\n"
        assert lab_command("logs", lab.name, "a", "-n", "1").stdout == "first: two\nsecond: two\n"
        assert json.loads(lab_command("logs", lab.name, "a", "--format", "json").stdout)["data"]["first"] == ["one", "two"]
        assert lab_command("logs", lab.name, "b").stdout == ""
        assert "its services are first, second" in lab_command("logs", lab.name, "a", "third", check=False).stderr


def test_logs_follow_a_service_until_the_lab_ends(up: Up) -> None:
    talk = shell("echo one; touch here; while ! test -e /run/go; do sleep .01; done; echo two; exec sleep 1000")
    with up(ServiceSpec("a", "daemon", talk, ready=Ready(file="here")), detach=True) as lab:
        argv = [sys.executable, "-m", "lab", "logs", lab.name, "a", "-f"]
        with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "one\n"
            lab["a"].run(["touch", "/run/go"])
            assert follower.stdout.readline() == "two\n"
            lab.down()
            assert follower.wait(20) == 0


_FLOCKS = """
import fcntl, os, time
lock = open('/run/lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
for child in range(20):
    if not os.fork():
        heap = bytearray(1 << 24)
        break
print('locked')
time.sleep(1000)
"""


def test_a_killed_service_has_let_go_of_what_its_children_shared(up: Up) -> None:
    """Each child has the lock as well, and memory that takes its time to be given back."""
    with up(ServiceSpec("a", "daemon", python(_FLOCKS), ready=Ready(line="locked"))) as lab:
        for _ in range(5):
            the(lab).kill()
            the(lab).start()
            the(lab).wait_ready()


def test_what_a_stopped_service_leaves_behind_on_purpose_is_left_alone(up: Up) -> None:
    leaves = shell("sleep 1000 & echo begun; exec sleep 2000")
    with up(ServiceSpec("a", "daemon", leaves, ready=Ready(line="begun"))) as lab:
        assert the(lab).stop() == -signal.SIGTERM
        assert lab["a"].run(["pgrep", "-f", "sleep 1000"]).status == 0


def test_a_scenario_fails_when_a_service_dies_under_it_and_holds_when_it_was_told_to_end(tmp_path: Path) -> None:
    topology = tmp_path / "one.yaml"
    topology.write_text("name: one\nnodes: {a: {services: {daemon: {command: [sh, -c, echo I begin; exec sleep 1000]}}}}\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.lab('one.yaml')\n"
        "def test_killed(lab):\n"
        "    lab['a'].run(['pkill', '-x', 'sleep'])\n"
        "    lab['a'].wait(lambda: lab['a'].services['daemon'].state().died)\n"
        "@pytest.mark.lab('one.yaml')\n"
        "def test_stopped(lab):\n    lab['a'].services['daemon'].stop()\n"
        "@pytest.mark.lab('one.yaml')\n"
        "def test_other(lab):\n    assert not lab['a'].services['daemon'].state().running\n"
    )
    done = lab_command("run", str(tmp_path / "test_it.py"), "-f", "json", check=False)
    assert done.returncode == 1
    killed, stopped, other = json.loads(done.stdout)["data"]["checks"]
    assert (killed["outcome"], stopped["outcome"], other["outcome"]) == ("failed", "held", "failed")
    assert killed["message"].endswith("service a:daemon: killed by SIGTERM; its last lines:\n    I begin")
    assert other["evidence"]["services"] == "a:daemon: running\n    I begin"
