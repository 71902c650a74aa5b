"""Commands on nodes: what they see, what they get and what becomes of them."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from support.nodes import (
    SECONDS,
    Scratch,
    connected,
    host,
    inhabitants,
    until,
    wait_until_alone,
)

from lab.substrate.processes import (
    DEVNULL,
    PIPE,
    STDOUT,
    CommandError,
    CommandTimeout,
    Init,
    Process,
    popen,
    run,
)

pytestmark = pytest.mark.root


def test_a_process_finds_the_name_the_devices_and_the_processes_of_its_node(scratch: Scratch, init: Init) -> None:
    host("nsenter", f"--net={scratch.netns('a')}", "ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8")
    assert run(init, ["hostname"]).stdout == "a\n"
    assert run(init, ["ls", "/sys/class/net"]).stdout.split() == ["eth7", "eth8", "lo"]
    assert run(init, ["cat", "/proc/1/comm"]).stdout == "lab:a\n"
    assert run(init, ["sh", "-c", "echo /proc/[0-9]*"]).stdout.split()[0] == "/proc/1"
    assert len(run(init, ["sh", "-c", "echo /proc/[0-9]*"]).stdout.split()) == 2


def test_the_hosts_control_groups_and_tracing_stay_in_sight(init: Init) -> None:
    def mounted_below_sys(text: str) -> list[str]:
        points = [line.split()[4] for line in text.splitlines()]
        return sorted(point for point in points if point.startswith("/sys/"))

    there = mounted_below_sys(run(init, ["cat", "/proc/self/mountinfo"]).stdout)
    assert set(there) == set(mounted_below_sys(Path("/proc/self/mountinfo").read_text()))


def test_what_a_node_mounts_stays_on_the_node(init: Init, tmp_path: Path) -> None:
    run(init, ["mount", "-t", "tmpfs", "node", str(tmp_path)])
    assert not tmp_path.is_mount()


def test_a_node_sees_no_mount_of_any_lab_and_a_run_directory_of_its_own(scratch: Scratch) -> None:
    scratch.netns("b")
    scratch.netns("c", lab="other")
    init = scratch.init("a")
    points = {line.split()[4] for line in run(init, ["cat", "/proc/self/mountinfo"]).stdout.splitlines()}
    assert not {point for point in points if point.startswith(str(scratch.root))}
    assert run(init, ["ls", "/run", "/dev/shm"]).stdout.split() == ["/dev/shm:", "/run:"]
    run(init, ["touch", "/run/here"])
    assert (scratch.directory("a") / "run" / "here").exists()
    assert not Path("/run/here").exists()


def test_the_end_of_another_lab_frees_its_namespaces_while_a_node_lives(scratch: Scratch) -> None:
    here, there = scratch.netns("a"), scratch.netns("b", lab="other")
    link = ["ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns"]
    host("nsenter", f"--net={here}", *link, there)
    init = scratch.init("a")
    assert run(init, ["ls", "/sys/class/net"]).stdout.split() == ["here", "lo"]
    scratch.end_lab("other")
    until("the peer went with its namespace", lambda: run(init, ["ls", "/sys/class/net"]).stdout.split() == ["lo"])


def test_a_process_gets_the_environment_the_directory_and_the_words_that_were_given(init: Init, tmp_path: Path) -> None:
    assert run(init, ["/usr/bin/env"], env={"A": "1", "B": "ä"}).stdout == "A=1\nB=ä\n"
    assert run(init, ["pwd"], cwd=tmp_path).stdout == f"{tmp_path}\n"
    assert run(init, ["pwd"]).stdout == f"{Path.cwd()}\n"
    assert run(init, ["printf", "%s|", "", "two words", "$HOME"]).stdout == "|two words|$HOME|"


def test_bytes_that_are_no_text_arrive_as_they_are(init: Init) -> None:
    with popen(init, ["printf", "%s", os.fsdecode(b"\xff\xfe")]) as process:
        assert process.stdout is not None
        assert process.stdout.buffer.read() == b"\xff\xfe"


def test_a_command_line_may_be_longer_than_any_message(init: Init) -> None:
    words = ["x" * 100_000] * 10
    assert len(run(init, ["echo", *words]).stdout) == 1_000_010


def test_no_signal_is_ignored_or_blocked_whatever_the_owner_does(scratch: Scratch) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        init = scratch.init()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGHUP, previous)
    status = dict(line.split(":\t") for line in run(init, ["cat", "/proc/self/status"]).stdout.splitlines())
    # The C library keeps 32 and 33 for itself: what posix_spawn(3) has started ignores them, and no function changes that.
    theirs = 1 << 31 | 1 << 32
    assert (int(status["SigIgn"], 16) & ~theirs, int(status["SigBlk"], 16)) == (0, 0)


def test_no_descriptor_but_the_three_that_were_given_is_open(init: Init) -> None:
    assert run(init, ["ls", "/proc/self/fd"]).stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_a_node_directory_may_be_deeper_than_a_unix_address_is_long(scratch: Scratch) -> None:
    deep = scratch.directory("x" * 60 + "/" + "y" * 60)
    init = scratch.spawner.init("deep", scratch.netns("deep"), scratch.lab(), deep, scratch.records.append, False)
    assert run(init, ["hostname"]).stdout == "deep\n"


# Starting and ending processes


def test_the_status_is_that_of_the_command_and_negative_for_a_signal(init: Init) -> None:
    assert run(init, ["sh", "-c", "exit 3"], check=False).status == 3
    assert run(init, ["sh", "-c", "kill -USR1 $$"], check=False).status == -signal.SIGUSR1


def test_a_failed_command_is_told_with_its_node_its_words_and_its_last_lines(init: Init) -> None:
    with pytest.raises(CommandError) as caught:
        run(init, ["sh", "-c", "echo not here >&2; exit 4"])
    assert str(caught.value) == "node a: sh -c 'echo not here >&2; exit 4': ended with status 4\n    not here"
    assert caught.value.result.status == 4


def test_a_command_that_is_not_there_is_told_as_exec_tells_it(init: Init, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        run(init, ["no-such-command"])
    assert missing.value.filename == "no-such-command"
    assert "node a: cannot execute" in str(missing.value)
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(PermissionError):
        run(init, [str(tmp_path / "plain")])
    with pytest.raises(FileNotFoundError) as nowhere:
        run(init, ["true"], cwd="/no/such/place")
    assert nowhere.value.filename == "/no/such/place"
    assert run(init, ["true"]).status == 0


def test_words_that_exec_cannot_take_are_refused_and_the_init_goes_on(init: Init) -> None:
    with pytest.raises(OSError, match="null byte"):
        run(init, ["echo", "a\0b"])
    with pytest.raises(ValueError, match="argv is empty"):
        run(init, [])
    assert run(init, ["true"]).status == 0


def test_a_client_that_speaks_nonsense_ends_nothing_but_its_own_connection(scratch: Scratch, init: Init) -> None:
    for message, descriptors in ((b"{", []), (b"{}", []), (b"{}", [0, 0, 0, 0])):
        with contextlib.closing(connected(init)) as connection:
            socket.send_fds(connection, [message], descriptors)
            connection.settimeout(SECONDS)
            connection.recv(4096)
    assert run(init, ["true"]).status == 0


def test_large_input_and_output_pass_each_other(init: Init) -> None:
    data = "0123456789abcdef" * 250_000
    result = run(init, ["sh", "-c", "tee /dev/stderr"], input=data)
    assert (result.stdout == data, result.stderr == data) == (True, True)


def test_input_that_nobody_reads_is_no_failure(init: Init) -> None:
    assert run(init, ["true"], input="x" * 1_000_000).status == 0


def test_a_child_in_the_background_does_not_hold_up_the_command(scratch: Scratch, init: Init) -> None:
    result = run(init, ["sh", "-c", "sleep 1000 & echo started"])
    assert result.stdout == "started\n"
    assert len(inhabitants(scratch.records[0])) == 2


def test_a_timeout_kills_the_whole_session_and_tells_what_was_written(scratch: Scratch, init: Init) -> None:
    script = "set -m; sleep 1000 & (sleep 1000 & sleep 1000) & echo half done; wait"
    with pytest.raises(CommandTimeout, match=r"did not end within 2 s\n    half done") as caught:
        run(init, ["bash", "-c", script], timeout=2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.result.stdout == "half done\n"
    wait_until_alone(scratch.records[0])


def test_a_process_is_waited_for_signalled_and_read_while_it_runs(init: Init) -> None:
    with popen(
        init, ["sh", "-c", "trap 'echo heard; exit 5' USR1; echo ready; while :; do read line; done"], stdin=PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        with pytest.raises(TimeoutError, match="still runs after 0 s"):
            process.wait(0)
        process.signal(signal.SIGUSR1)
        assert process.wait(SECONDS) == 5
        assert process.poll() == 5
        assert process.stdout.read() == "heard\n"
        process.signal(signal.SIGUSR1)


def test_terminate_reaches_the_child_of_a_shell_and_kill_the_jobs_that_it_put_elsewhere(scratch: Scratch, init: Init) -> None:
    with popen(init, ["sh", "-c", "sleep 1000; :"]) as process:
        process.terminate()
        assert process.wait(SECONDS) == -signal.SIGTERM
    with popen(init, ["bash", "-c", "set -m; sleep 1000 & echo; wait"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL
    wait_until_alone(scratch.records[0])


def test_stderr_joins_stdout_and_a_descriptor_is_passed_through(init: Init, tmp_path: Path) -> None:
    with popen(init, ["sh", "-c", "echo one; echo two >&2"], stderr=STDOUT) as process:
        assert process.communicate(timeout=SECONDS) == ("one\ntwo\n", "")
    with (tmp_path / "log").open("w") as log, popen(init, ["echo", "kept"], stdout=log.fileno(), stderr=DEVNULL) as process:
        assert process.wait(SECONDS) == 0
    assert (tmp_path / "log").read_text() == "kept\n"


def test_the_end_of_the_with_block_is_the_end_of_the_process(scratch: Scratch, init: Init) -> None:
    with popen(init, ["sh", "-c", "sleep 1000 & echo; wait"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
    assert process.poll() == -signal.SIGKILL
    wait_until_alone(scratch.records[0])


def test_a_client_that_is_gone_before_its_process_started_leaves_none(scratch: Scratch, init: Init) -> None:
    request = json.dumps({"argv": ["sleep", "1000"], "env": {}, "cwd": "/", "tty": False, "keep": False})
    with tempfile.TemporaryFile() as memory, Path(os.devnull).open("r+b", 0) as null:
        memory.write(request.encode())
        memory.flush()
        for _ in range(20):
            with contextlib.closing(connected(init)) as connection:
                socket.send_fds(connection, [b"{}"], [memory.fileno(), *[null.fileno()] * 3])
    assert run(init, ["true"]).status == 0  # after all of them: the init takes connections in turn
    wait_until_alone(scratch.records[0])


def test_a_process_that_is_to_be_kept_outlives_its_connection(scratch: Scratch, init: Init) -> None:
    with popen(init, ["sleep", "1000"], keep=True, stdout=DEVNULL, stderr=DEVNULL) as process:
        assert process.poll() is None
    assert run(init, ["pgrep", "-x", "sleep"]).stdout == f"{process.pid}\n"


def test_a_forgotten_process_ends_in_silence(scratch: Scratch, init: Init, recwarn: pytest.WarningsRecorder) -> None:
    process: Process = popen(init, ["sleep", "1000"], stdin=PIPE)
    cycle: list[object] = [process]
    cycle.append(cycle)
    del process, cycle
    gc.collect()
    wait_until_alone(scratch.records[0])
    assert [str(warning.message) for warning in recwarn] == []


def test_orphans_are_reaped(scratch: Scratch, init: Init) -> None:
    run(init, ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (true &) ; done"])
    wait_until_alone(scratch.records[0])


def test_threads_start_and_await_processes_side_by_side(init: Init) -> None:
    outcomes: list[str] = []

    def work(number: int) -> None:
        outcomes.extend(run(init, ["echo", str(number)]).stdout for _ in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(outcomes) == sorted(f"{number}\n" for number in range(8) for _ in range(10))


def test_no_descriptor_is_left_behind(init: Init) -> None:
    run(init, ["true"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        run(init, ["cat"], input="x")
        with pytest.raises(FileNotFoundError):
            run(init, ["no-such-command"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
