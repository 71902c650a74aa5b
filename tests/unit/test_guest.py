"""Guests before anything runs: their frames, the command lines of QEMU and User-mode Linux, and what is told of their ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.guest import frames, qemu, uml, verdict
from lab.guest.frames import Decoder, Frame, Kind, Window
from lab.guest.spec import Guest, Substrate, quoted
from lab.guest.verdict import End

GUEST = Guest(
    release="6.1.0-1-amd64",
    substrate=Substrate.TCG,
    image=Path("/c/vmlinux"),
    initrd=Path("/c/initrd"),
    agent=("/v/bin/python", "/p/agent.py"),
    environment={"LAB_MODULES": "/m o", "LAB_LOAD": ""},
    cpus=2,
)
PANIC = """\
[    1.0] a line
[    9.1] sysrq: Trigger a crash
[    9.2] Kernel panic - not syncing: sysrq triggered crash
[    9.3] CPU: 0 PID: 1
"""


def after(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_frames_are_whole_however_they_are_cut() -> None:
    sent = [Frame(Kind.STDOUT, 3, b"x" * 5000), frames.resize_frame(1, 24, 80), frames.signal_frame(2, 15), Frame(Kind.PING)]
    text = b"".join(frame.encode() for frame in sent)
    for step in (1, 7, 4096, len(text)):
        decoder = Decoder()
        assert [each for at in range(0, len(text), step) for each in decoder.feed(text[at : at + step])] == sent


def test_what_frames_say_comes_back() -> None:
    assert frames.resize_frame(1, 24, 80).size() == (24, 80)
    assert frames.signal_frame(1, 15).number() == 15
    assert frames.credit_frame(1, Kind.STDIN, 7).credit() == (Kind.STDIN, 7)
    assert frames.of_json(Kind.EXIT, 1, {"status": 3}).json() == {"status": 3}
    assert frames.file_frame(1, {"path": "a"}, b"\n\0").file() == ({"path": "a"}, b"\n\0")


@pytest.mark.parametrize(
    "text", [b"\xff" + bytes(8), bytes(9), b"\x04" + bytes(4) + b"\xff\xff\xff\xff"], ids=["no kind", "zeros", "too long"]
)
def test_a_guest_that_says_what_is_no_frame_is_found_out(text: bytes) -> None:
    with pytest.raises(ValueError):
        list(Decoder().feed(text))


@pytest.mark.parametrize(
    "frame", [Frame(Kind.SIGNAL, 1, b"x"), Frame(Kind.RESIZE, 1), Frame(Kind.CREDIT, 1, bytes(5)), Frame(Kind.EXIT, 1, b"[]")]
)
def test_a_payload_that_is_none_is_found_out(frame: Frame) -> None:
    ask = {Kind.SIGNAL: frame.number, Kind.RESIZE: frame.size, Kind.CREDIT: frame.credit, Kind.EXIT: frame.json}[frame.kind]
    with pytest.raises(ValueError):
        ask()


def test_a_window_closes_and_opens_by_credit_and_by_no_more_than_was_sent() -> None:
    window = Window(100)
    window.sent(100)
    assert window.open == 0
    window.credited(60)
    assert window.open == 60
    with pytest.raises(ValueError):
        window.credited(41)
    assert [window.take(10), window.take(10), window.take(10)] == [0, 0, 30]


def test_qemu_shares_the_root_read_only_and_has_no_network() -> None:
    words = qemu.argv(GUEST, channel=5, console=6)
    assert after(words, "-fsdev") == ["local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]
    assert after(words, "-nic") == ["none"]
    assert "socket,id=channel,fd=5" in after(words, "-chardev")
    assert after(words, "-add-fd") == ["fd=6,set=1"]
    assert after(words, "-sandbox")
    assert after(words, "-m") == ["1024"]
    assert "-gdb" not in words
    assert "-icount" not in words


def test_the_kernels_command_line_carries_variables_and_quotes_them() -> None:
    line = qemu.command_line(GUEST)
    assert '"LAB_MODULES=/m o"' in line
    assert "LAB_PYTHON=/v/bin/python" in line
    assert "LAB_LOAD" not in line
    with pytest.raises(ValueError):
        quoted('a"b')


def test_virtual_time_is_one_thread_and_a_clock_of_the_guests_own() -> None:
    words = qemu.argv(replace(GUEST, warp=True, cpus=1), 5, 6)
    assert after(words, "-icount") == ["shift=2,sleep=off"]
    assert after(words, "-accel") == ["tcg,thread=single"]
    assert after(words, "-rtc") == ["base=utc,clock=vm"]


def test_a_debugger_finds_the_guest_stopped_at_its_socket() -> None:
    words = qemu.argv(replace(GUEST, debugger=Path("/s,1"), extra=("-x",)), 5, 6)
    assert "socket,id=gdb,path=/s,,1,server=on,wait=off" in after(words, "-chardev")
    assert {"-S", "-x"} <= set(words)


def test_user_mode_linux_has_the_agent_as_its_init() -> None:
    words = uml.argv(replace(GUEST, substrate=Substrate.UML, initrd=None), channel=5)
    assert words[0] == "/c/vmlinux"
    assert {"mem=1024M", "ssl0=fd:5", "rootflags=/", "ro", "init=/v/bin/python"} <= set(words)
    assert words[-3:] == ["--", "-S", "/p/agent.py"]


@pytest.mark.parametrize(
    ("console", "ready", "end"),
    [
        (PANIC, True, End.PANIC),
        (PANIC, False, End.BOOT),
        ("Out of memory: Killed process 7\n" + PANIC, True, End.MEMORY),
        ("[ 1.0] fine", True, End.DIED),
        ("", False, End.BOOT),
    ],
)
def test_ends_are_told_apart(console: str, ready: bool, end: End) -> None:
    assert verdict.of_process(console, ready) is end


def test_a_panic_is_told_from_its_beginning_without_times() -> None:
    said = str(verdict.failure(End.PANIC, GUEST, PANIC))
    assert "kernel 6.1.0-1-amd64 panicked" in said
    assert "| Kernel panic - not syncing: sysrq triggered crash" in said
    assert "| CPU: 0 PID: 1" in said
    assert "[    9" not in said


def test_an_oops_before_a_panic_is_told_whole() -> None:
    trace = "".join(f"[    9.3]  function_{number}+0x1/0x2\n" for number in range(30))
    oops = f"[    9.1] BUG: kernel NULL pointer dereference, address: 0\n[    9.2] Call Trace:\n{trace}"
    lines = verdict.last_lines(f"[    1.0] a line\n{oops}[    9.5] Kernel panic - not syncing: Fatal exception\n", End.PANIC)
    assert (lines[0], lines[1], lines[-1]) == (
        "BUG: kernel NULL pointer dereference, address: 0",
        "Call Trace:",
        "Kernel panic - not syncing: Fatal exception",
    )
    assert len(lines) == 33


def test_where_the_kernel_says_nothing_the_program_is_heard() -> None:
    said = str(verdict.failure(End.BOOT, GUEST, "", "qemu: no such machine", 0))
    assert "did not boot in QEMU without KVM\n    | qemu: no such machine" in said


def test_little_memory_is_answered_with_more() -> None:
    assert "--memory 2048" in str(verdict.failure(End.MEMORY, GUEST, ""))
