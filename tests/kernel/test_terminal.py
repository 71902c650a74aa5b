"""Commands in front of a user: terminals, sizes of windows, signals, statuses."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios

import pytest
from support.nodes import (
    REPOSITORY,
    SECONDS,
    Scratch,
    soon,
    started,
    wait_until_alone,
)

from lab.substrate import terminal
from lab.substrate.endings import readable
from lab.substrate.processes import (
    PIPE,
    Init,
)

pytestmark = pytest.mark.root


USER = """
import sys
from pathlib import Path
from lab.substrate import terminal
from lab.substrate.processes import Init
init = Init.attach(Path(sys.argv[2]))
sys.exit(getattr(terminal, sys.argv[1])(init, sys.argv[3:]))
"""


def user(how: str, init: Init, *argv: str) -> list[str]:
    return [sys.executable, "-c", USER, how, str(init.directory), *argv]


class Screen:
    """The user's end of a terminal."""

    def __init__(self, master: int) -> None:
        self.master, self.shown = master, b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def shows(self, what: bytes) -> bool:
        """Reads on until `what` has come; what stood before it is not looked at again."""
        deadline = soon()
        while what not in self.shown:
            assert readable(self.master, deadline), f"{what!r} never came: {self.shown!r}"
            self.shown += os.read(self.master, 4096)
        self.shown = self.shown.partition(what)[2]
        return True


def test_a_shell_on_a_node_has_a_terminal_with_job_control_and_the_size_of_the_users(init: Init) -> None:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (33, 99))
    before = termios.tcgetattr(slave)
    argv = user("interact", init, "bash", "--norc", "--noprofile", "-i")
    with started(argv, stdin=slave, stdout=slave, stderr=slave) as process:
        screen = Screen(master)
        assert screen.shows(b"# ")  # bash drops what is typed before it asks
        screen.type(b"echo $((6*7))$(hostname) $(stty size)\n")
        assert screen.shows(b"42a 33 99\r\n")
        assert screen.shows(b"# ")
        screen.type(b"sh -c 'echo as''leep; exec sleep 1000'\n")
        assert screen.shows(b"asleep\r\n")
        screen.type(b"\x03")
        assert screen.shows(b"# ")
        screen.type(b"echo $?; exec sh -c \"trap 'stty size; exit 7' WINCH; echo w'ai'ting; read line\"\n")
        assert screen.shows(b"130\r\nwaiting\r\n")
        termios.tcsetwinsize(slave, (40, 120))
        process.send_signal(signal.SIGWINCH)
        assert screen.shows(b"40 120\r\n")
        assert process.wait(SECONDS) == 7
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_paste_and_an_output_that_are_both_large_do_not_wait_for_each_other(init: Init) -> None:
    master, slave = os.openpty()
    script = "stty raw -echo; echo ready; head -c 300000 /dev/zero | tr '\\0' x; head -c 50000 | wc -c"
    with started(user("interact", init, "sh", "-c", script), stdin=slave, stdout=slave) as process:
        screen = Screen(master)
        assert screen.shows(b"ready")
        os.set_blocking(master, False)
        paste = b"y" * 50000
        while process.poll() is None and b"50000" not in screen.shown[-100:]:
            poll = select.poll()
            poll.register(master, select.POLLIN | (select.POLLOUT if paste else 0))
            assert poll.poll(SECONDS * 1000)
            with contextlib.suppress(BlockingIOError):
                screen.shown += os.read(master, 65536)
            with contextlib.suppress(BlockingIOError):
                paste = paste[os.write(master, paste) :] if paste else b""
        assert screen.shown.count(b"x") == 300000
        assert process.wait(SECONDS) == 0
    os.close(master)
    os.close(slave)


def test_a_user_who_is_killed_leaves_no_shell_behind(scratch: Scratch, init: Init) -> None:
    master, slave = os.openpty()
    argv = user("interact", init, "sh", "-c", "echo ready; sleep 1000")
    with started(argv, stdin=slave, stdout=slave) as process:
        assert Screen(master).shows(b"ready")
        process.kill()
    wait_until_alone(scratch.records[0])
    os.close(master)
    os.close(slave)


def test_an_attached_command_has_the_callers_own_streams_and_status(init: Init) -> None:
    argv = user("attached", init, "sh", "-c", "cat; echo wrong >&2; exit 9")
    done = subprocess.run(argv, check=False, cwd=REPOSITORY, input="right", capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (9, "right", "wrong\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_attached_caller_ends_the_whole_group_of_the_command(
    scratch: Scratch, init: Init, number: signal.Signals
) -> None:
    with started(user("attached", init, "sh", "-c", "cat; :"), stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print("ready", file=process.stdin, flush=True)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(SECONDS) == 128 + number
    wait_until_alone(scratch.records[0])


def test_signals_of_the_caller_are_its_own_again_afterwards(init: Init) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert terminal.attached(init, ["true"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
