"""`lab run` by an ordinary user: the same checks, statuses and reports as root's, and the host is as it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import world
from support.commands import SECONDS, Said
from support.topologies import EVERY_STEP
from support.user import User, new_user, processes_of, until_gone

from lab import Lab
from lab.live import unique_name

pytestmark = pytest.mark.root

LOGGING = {"test_log_martians_names_the_refused_request", "test_without_log_martians_the_log_is_silent"}
ALONE = "name: alone\nnodes: {a: {}}\n"
HEAD = """
    import os, pathlib, signal, subprocess, time, pytest
"""
HOLDS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_holds(lab):
        """A lab of one node has one node."""
        assert lab["a"].run(["cat", "/proc/sys/kernel/hostname"]).stdout == "a\\n"
'''
FAILS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_fails(lab):
        """A lab of one node has two."""
        assert len(lab.nodes) == 2
'''
SKIPS = """
    def test_it_is_skipped():
        pytest.skip("not today")
"""
WAITS = '''
    @pytest.mark.lab("alone.yaml")
    def test_it_waits(lab):
        """It waits to be interrupted."""
        lab["a"].spawn(["sleep", "600"])
        subprocess.Popen(["setsid", "sleep", "600"])
        open(os.environ["READY"], "w").close()
        time.sleep(600)
'''
PROCESSES = '''
    @pytest.mark.lab("pair.yaml")
    def test_processes(lab):
        """Processes on nodes find what root's do."""
        a, b = lab["a"], lab["b"]
        a.run(["ping", "-c1", "-W5", "10.0.0.2"])
        assert sorted(os.listdir("/run/netns")) == [f"{lab.name}.a", f"{lab.name}.b"]
        assert set(a.run(["ls", "/sys/class/net"]).stdout.split()) >= {"lo", "eth0"}
        assert a.run(["cat", "/proc/1/comm"]).stdout.strip() == "lab:a"
        assert len(a.run(["sh", "-c", "ls -d /proc/[0-9]*"]).stdout.split()) <= 3
        a.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        assert a.sysctl["net.ipv4.ip_forward"] == "1"
        beside = ["ip", "netns", "exec", f"{lab.name}.b", "ls", "/sys/class/net"]
        assert "eth0" in subprocess.run(beside, capture_output=True, text=True, check=True).stdout.split()
        trap = ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 600 & wait"]
        with b.spawn(trap, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline().strip() == "ready"
            process.signal(signal.SIGTERM)
            assert process.wait() == 7
'''
PAIR = """\
name: pair
nodes: {a: {}, b: {}}
links: [{endpoints: ["a:eth0", "b:eth0"], addresses: {a: 10.0.0.1/24, b: 10.0.0.2/24}}]
"""


@pytest.fixture(scope="module")
def ranged() -> Iterator[User]:
    """A user with subordinate ids."""
    with new_user(subordinate=True) as user:
        yield user
        until_gone(user)


@pytest.fixture(scope="module")
def plain() -> Iterator[User]:
    """A user without."""
    with new_user(subordinate=False) as user:
        yield user
        until_gone(user)


@pytest.fixture(params=["ranged", "plain"])
def user(request: pytest.FixtureRequest) -> User:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, User)
    return found


def scenario(user: User, *parts: str, topology: str = ALONE) -> Path:
    user.write("alone.yaml", topology)
    user.write("pair.yaml", PAIR)
    return user.write("test_mine.py", "".join(map(textwrap.dedent, (HEAD, *parts))))


def outcomes(said: Said) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in said.json("run")["checks"]}


def not_on_vlans(said: Said) -> dict[str, str]:
    """Without the checks that are skipped because this kernel has no VLAN devices."""
    lacking = "this kernel has no vlan"
    found = {check["name"]: check for check in said.json("run")["checks"] if not check["message"].startswith(lacking)}
    return {name: check["outcome"] for name, check in found.items()}


@contextlib.contextmanager
def dmesg_restrict(value: str) -> Iterator[None]:
    path = Path("/proc/sys/kernel/dmesg_restrict")
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)


# -- the experiment


def test_the_experiment_holds_but_for_what_the_kernels_log_shows(user: User) -> None:
    with dmesg_restrict("1"):
        said = user.runs_lab("run", "rp-filter", "-f", "json")
    assert said.status == 0, said.stdout + said.stderr
    found = not_on_vlans(said)
    assert {name for name, outcome in found.items() if outcome == "skipped"} == LOGGING
    assert {outcome for name, outcome in found.items() if name not in LOGGING} == {"held"}
    assert len(found) == 18
    (why,) = {check["message"] for check in said.json("run")["checks"] if check["name"] in LOGGING}
    assert why.startswith("without root the kernel's log cannot be read here\n")
    assert "sudo sysctl kernel.dmesg_restrict=0" in why


def test_where_every_user_may_read_the_log_those_checks_hold_too(ranged: User) -> None:
    with dmesg_restrict("0"):
        said = ranged.runs_lab("run", "rp-filter", "-f", "json")
    assert said.status == 0, said.stdout + said.stderr
    assert set(not_on_vlans(said).values()) == {"held"}


def test_two_users_at_once_do_not_disturb_each_other(ranged: User, plain: User) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda user: user.runs_lab("run", "rp-filter", "-f", "json"), (ranged, plain)))
    assert [each.status for each in said] == [0, 0], said
    assert all(outcomes(each)["test_without_the_filter_both_answer"] == "held" for each in said)


# -- processes on nodes


def test_processes_on_nodes_find_what_roots_find(user: User) -> None:
    said = user.runs_lab("run", scenario(user, PROCESSES))
    assert said.status == 0, said.stdout + said.stderr


def test_every_kind_of_step_is_done_without_root(plain: User) -> None:
    check = """
    @pytest.mark.lab("alone.yaml")
    def test_steps(lab):
        assert lab["a"].run(["ping", "-c1", "-W5", "10.0.0.254"]).status == 0
    """
    said = plain.runs_lab("run", scenario(plain, check, topology=EVERY_STEP.format(name="alone")))
    assert said.status == 0, said.stdout + said.stderr


def test_a_node_of_a_large_lab_captures_packets_where_tcpdump_can_become_its_user(ranged: User) -> None:
    check = """
    @pytest.mark.lab("alone.yaml")
    def test_star(lab):
        command = ["tcpdump", "-i", "eth0", "-c", "1", "-n", "icmp"]
        with lab["h0"].spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tcpdump:
            assert any("listening on" in line for line in iter(tcpdump.stderr.readline, ""))
            lab["h1"].run(["ping", "-c1", "-W5", "10.0.0.1"])
            assert "ICMP echo request" in tcpdump.stdout.readline()
    """
    hosts = "".join(f"  h{number}: {{}}\n" for number in range(100))
    links = "".join(
        f'  - {{endpoints: ["h{number}:eth0", lan], addresses: {{h{number}: 10.0.0.{number + 1}/24}}}}\n'
        for number in range(100)
    )
    topology = f"name: alone\nnodes:\n  lan: {{kind: switch}}\n{hosts}links:\n{links}"
    said = ranged.runs_lab("run", scenario(ranged, check, topology=topology))
    assert said.status == 0, said.stdout + said.stderr


BECOMES = '''
    @pytest.mark.lab("alone.yaml")
    def test_becomes(lab):
        """A program of a node becomes another user."""
        argv = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "id", "-u"]
        assert lab["a"].run(argv).stdout.strip() in ("1234", b"1234")
'''


def test_a_program_changes_its_user_with_subordinate_ids_and_not_without(ranged: User, plain: User) -> None:
    assert ranged.runs_lab("run", scenario(ranged, BECOMES)).status == 0
    said = plain.runs_lab("run", scenario(plain, BECOMES))
    assert said.status == 1
    assert "setpriv" in said.stdout


def test_a_lab_starts_from_the_kernels_defaults_however_the_host_was_set(plain: User) -> None:
    check = '''
    @pytest.mark.lab("pair.yaml")
    def test_defaults(lab):
        """Its settings are the kernel's."""
        for family, kind, key, value in (("ipv4", "conf", "arp_notify", "0"), ("ipv4", "neigh", "gc_stale_time", "60")):
            assert lab["a"].sysctl[f"net.{family}.{kind}.eth0.{key}"] == value
    '''
    settings = {"conf/default/arp_notify": "1", "neigh/default/gc_stale_time": "77"}
    folder = Path("/proc/sys/net/ipv4")
    before = {name: (folder / name).read_text() for name in settings}
    try:
        for name, value in settings.items():
            (folder / name).write_text(value)
        said = plain.runs_lab("run", scenario(plain, check))
    finally:
        for name, value in before.items():
            (folder / name).write_text(value)
    assert said.status == 0, said.stdout + said.stderr


def test_a_hidden_part_of_sys_is_3_where_a_node_needs_it(plain: User) -> None:
    from dataclasses import replace

    masked = replace(plain, before='done(libc.mount(b"tmpfs", b"/sys/kernel", b"tmpfs", 0, None))')
    said = masked.runs_lab("run", scenario(plain, HOLDS))
    assert said.status == 3, said.stdout
    assert "it could not mount /sys: not permitted" in said.stdout
    assert "nothing of its /proc and /sys may be hidden" in said.stdout


# -- exit statuses and words


@pytest.mark.parametrize(
    ("parts", "words", "status"),
    [
        ((HOLDS,), (), 0),
        ((HOLDS, FAILS), (), 1),
        ((HOLDS, "import nothing_of_that_name\n"), (), 2),
        ((HOLDS,), ("--set", "nothing=1"), 2),
        ((HOLDS, SKIPS), ("--fail-on-skip",), 4),
    ],
)
def test_each_outcome_has_roots_status(plain: User, parts: tuple[str, ...], words: tuple[str, ...], status: int) -> None:
    said = plain.runs_lab("run", scenario(plain, *parts), *words)
    assert said.status == status, said.stdout + said.stderr


def test_a_step_that_fails_is_3_and_a_setting_that_is_hidden_without_root_is_said(plain: User) -> None:
    file = scenario(plain, HOLDS, topology="name: alone\nnodes: {a: {sysctls: {net.ipv6.route.gc_thresh: 999}}}\n")
    said = plain.runs_lab("run", file)
    assert said.status == 3
    assert "without root, in a user namespace, the kernel shows fewer of them" in said.stdout


def test_what_the_process_that_goes_on_dies_of_is_the_status_as_a_shell_tells_it(plain: User) -> None:
    said = plain.runs_lab("run", scenario(plain, "def test_it_dies():\n    os.kill(os.getpid(), signal.SIGKILL)\n"))
    assert said.status == 128 + signal.SIGKILL


def test_standard_input_output_and_errors_are_the_callers(plain: User) -> None:
    check = """
    def test_it(pytestconfig):
        pytestconfig.pluginmanager.getplugin("capturemanager").suspend(in_=True)
        os.write(1, os.read(0, 99))
        os.write(2, b"and errors")
    """
    argv = plain.argv(*plain.lab, "run", "-q", scenario(plain, check))
    done = subprocess.run(argv, input="from outside\n", capture_output=True, timeout=SECONDS, check=False, **plain.options())
    assert done.stdout.startswith("from outside\n")
    assert done.stderr == "and errors"


def test_quiet_says_nothing_of_ids(plain: User) -> None:
    said = plain.runs_lab("run", "-q", scenario(plain, HOLDS))
    assert (said.status, said.stderr) == (0, "")


def test_reports_are_the_callers_files(user: User) -> None:
    said = user.runs_lab("run", scenario(user, HOLDS), "--json", "out.json", "--junit", "out.xml")
    assert said.status == 0
    for name in ("out.json", "out.xml"):
        status = (user.home / name).stat()
        assert (status.st_uid, status.st_gid) == (user.uid, user.gid)
    assert json.loads((user.home / "out.json").read_text())["data"]["counts"]["held"] == 1


def test_on_the_hosts_files_the_caller_has_no_more_rights_than_before(user: User) -> None:
    check = """
    def test_rights():
        for path in ("/etc/shadow", "/root"):
            with pytest.raises(PermissionError):
                os.listdir(path) if os.path.isdir(path) else open(path)
        with pytest.raises(OSError):
            pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    """
    assert user.runs_lab("run", scenario(user, check)).status == 0


def test_keeping_a_failed_lab_needs_root_and_says_why(plain: User) -> None:
    said = plain.runs_lab("run", "rp-filter", "--keep-on-failure")
    assert (said.status, said.stdout) == (3, "")
    assert "lab: --keep-on-failure needs root: without it the labs are in a user namespace" in said.stderr


@pytest.mark.parametrize(("words", "status"), [(("up", "two-hosts"), 3), (("down", "x"), 3), (("exec", "x", "a", "true"), 125)])
def test_what_needs_root_says_what_does_not(plain: User, words: tuple[str, ...], status: int) -> None:
    said = plain.runs_lab(*words)
    assert (said.status, said.stdout) == (status, "")
    assert (
        "needs root\n    run it as root, for example with sudo; without root there is `lab run FILE`, and validate"
        in said.stderr
    )


@pytest.mark.parametrize("words", [("validate", "two-hosts"), ("plan", "two-hosts"), ("ls",), ("scenarios",), ("schema",)])
def test_what_needs_none_is_done(plain: User, words: tuple[str, ...]) -> None:
    assert plain.runs_lab(*words).status == 0


def test_in_a_users_own_pytest_the_test_is_skipped_and_lab_run_is_named(plain: User) -> None:
    file = scenario(plain, HOLDS)
    said = plain.run(*plain.python, "-m", "pytest", "-rs", "-p", "no:cacheprovider", file)
    assert "1 skipped" in said.stdout, said.stdout + said.stderr
    assert "without root there is `lab run FILE`" in said.stdout.replace("\n", " ")


# -- interrupts, and a caller that is killed


@contextlib.contextmanager
def waiting(user: User, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """`lab run` while the check WAITS is in its lab."""
    ready = user.home / "ready"
    os.mkfifo(ready)
    os.chown(ready, user.uid, user.gid)
    try:
        with user.started(*user.lab, "run", scenario(user, HOLDS, WAITS), env={"READY": str(ready)}, **streams) as process:
            ready.read_text()  # returns when the check has opened the other end
            yield process
    finally:
        ready.unlink()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_of_the_caller_alone_undoes_everything(user: User, number: signal.Signals, status: int) -> None:
    with waiting(user) as process:
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == status
    assert "✓ A lab of one node has one node" in stdout
    assert stdout.splitlines()[-1].endswith("everything is undone")
    until_gone(user)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_of_the_whole_group_is_one_interrupt(plain: User, number: signal.Signals, status: int) -> None:
    with waiting(plain, start_new_session=True) as process:
        os.killpg(process.pid, number)
        stdout, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == status
    assert stdout.splitlines()[-1].endswith("everything is undone")
    until_gone(plain)


def test_control_c_at_a_terminal_undoes_everything(plain: User) -> None:
    ours, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)

    def take_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        waiting(plain, **streams, start_new_session=True, preexec_fn=take_the_terminal) as process,
    ):
        os.close(theirs)
        terminal.write(b"\x03")
        said = "".join(_read_all(terminal))
        assert process.wait(SECONDS) == 130
    assert "interrupted, everything is undone" in said
    until_gone(plain)


def _read_all(terminal: Any) -> Iterator[str]:
    """Until the last process that has it is gone: then the kernel says EIO."""
    with contextlib.suppress(OSError):
        while data := terminal.read(4096):
            yield data.decode(errors="replace")


def test_a_killed_caller_leaves_no_process_and_no_namespace(user: User) -> None:
    with waiting(user) as process:
        inside = processes_of(user)
        assert len(inside) == 7, inside  # caller, keeper, command, helper, init, and a sleep on the node and beside it
        process.kill()
        process.wait(SECONDS)
        until_gone(user)


def test_a_killed_keeper_ends_everything_and_is_told(plain: User) -> None:
    with waiting(plain) as process:
        (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(keeper), signal.SIGKILL)
        assert process.wait(SECONDS) == 128 + signal.SIGKILL
    until_gone(plain)


def test_an_interrupt_that_was_ignored_stays_ignored(plain: User) -> None:
    pipes = [plain.home / name for name in ("begin", "end")]
    for pipe in pipes:
        os.mkfifo(pipe)
        os.chown(pipe, plain.uid, plain.gid)
    check = "def test_it():\n    for name in ('begin', 'end'):\n        pathlib.Path(name).read_text()\n"
    shell = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")
    with plain.started(*shell, *plain.lab, "run", scenario(plain, check)) as process:
        pipes[0].write_text("begin")
        process.send_signal(signal.SIGINT)
        pipes[1].write_text("end")
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


# -- the host


def test_the_host_sees_neither_mount_nor_name_nor_link_of_a_users_lab(plain: User) -> None:
    before = world.look()
    with waiting(plain) as process:
        more = world.look().more_than(before)
        assert set(more) == {"processes"}, more
        process.terminate()
        process.communicate(timeout=SECONDS)
    until_gone(plain)
    world.until_as(before)


def test_what_a_check_leaves_running_ends_with_the_command(plain: User) -> None:
    check = "def test_it():\n    subprocess.Popen(['setsid', 'sleep', '600'], stdout=-3, stderr=-3)\n"
    until_gone(plain)
    plain.runs_lab("run", scenario(plain, check))
    assert processes_of(plain) == []


def test_roots_labs_are_listed_to_a_user_who_may_not_read_their_journals(plain: User, own_run_directory: Path) -> None:
    with Lab.up("two-hosts", name=unique_name("roots")) as lab:
        said = plain.runs_lab("ls", env={"LAB_RUN_DIR": str(own_run_directory)})
        assert said.status == 0
        assert [line.split()[:3] for line in said.stdout.splitlines()[1:]] == [[lab.name, "unknown", "2"]]
