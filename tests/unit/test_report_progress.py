"""The line of progress on a real terminal: when it is drawn, what stays whole beside it, and when it is not drawn at all."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from lab.report import progress
from lab.report.progress import DELAY, Line

SECONDS = 20.0


class Screen:
    """Both ends of a terminal; `stream` writes to it."""

    def __init__(self, columns: int) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self.shown = ""

    def read(self) -> str:
        """What has been shown up to now."""
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536).decode()
        return self.shown

    def until(self, what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while what not in self.read():
            assert time.monotonic() < deadline, f"{what!r} never came: {self.shown!r}"
            select.select([self.master], [], [], 0.1)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    made = Screen(40)
    yield made
    made.stream.close()
    os.close(made.master)


def line(screen: Screen, text: Callable[[], str] = lambda: "working", wanted: bool = True) -> Line:
    return progress.line(screen.stream, text, wanted)


def test_it_comes_after_a_second_and_goes_with_its_block(screen: Screen) -> None:
    start = time.monotonic()
    with line(screen):
        assert screen.read() == ""
        screen.until("\r\x1b[2Kworking, 1 s")
        assert time.monotonic() - start >= DELAY
    assert screen.read() == "\r\x1b[2Kworking, 1 s\r\x1b[2K"
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_work_that_is_done_within_a_second_shows_nothing(screen: Screen) -> None:
    with line(screen):
        pass
    assert screen.read() == ""


def test_what_is_printed_aside_stays_whole_and_the_second_begins_anew(screen: Screen) -> None:
    with line(screen) as made:
        screen.until("working")
        with made.aside():
            screen.stream.write("printed\n")
            screen.stream.flush()
        printed = time.monotonic()
        screen.until("\r\x1b[2Kprinted\r\n\r\x1b[2Kworking, 1 s")
        assert time.monotonic() - printed >= DELAY - 0.05


def test_it_is_cut_before_the_edge_whatever_is_in_it(screen: Screen) -> None:
    """Wide characters take two columns, and what steers a terminal is no character of the line."""
    with line(screen, lambda: "\x1b[31m\n" + "網" * 30):
        screen.until("…")
    drawn = screen.read().split("\x1b[2K")[1].removesuffix("\r")
    assert drawn == " [31m " + "網" * 16 + "…"


def test_it_is_not_drawn_where_nobody_wants_it(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    with line(screen, wanted=False):
        assert "progress" not in {thread.name for thread in threading.enumerate()}
    monkeypatch.setenv("TERM", "dumb")
    with line(screen):
        assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_it_goes_to_the_terminal_although_the_descriptor_is_redirected_meanwhile(screen: Screen) -> None:
    """As a test runner does that captures what is printed."""
    fd, kept = screen.stream.fileno(), os.dup(screen.stream.fileno())
    with open(os.devnull, "w") as nowhere, line(screen):  # noqa: PTH123
        os.dup2(nowhere.fileno(), fd)
        screen.until("working, 1 s")
        os.dup2(kept, fd)
    os.close(kept)


JOB = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
code = "import sys, time; from lab.report.progress import line\\nwith line(sys.stderr, lambda: 'working'): time.sleep(1.5)"
subprocess.run([sys.executable, "-c", code], process_group=0 if sys.argv[1] == "background" else None, check=True)
print("done", flush=True)
"""


@pytest.mark.parametrize(("where", "drawn"), [("background", False), ("foreground", True)])
def test_a_job_in_the_background_does_not_write_into_what_the_user_types(screen: Screen, where: str, drawn: bool) -> None:
    streams = {"stdin": screen.stream, "stdout": screen.stream, "stderr": screen.stream}
    argv = [sys.executable, "-c", JOB, where]
    with subprocess.Popen(argv, start_new_session=True, **streams) as process:  # type: ignore[call-overload]
        screen.until("done")
        assert process.wait(SECONDS) == 0
    assert ("working" in screen.read()) == drawn
