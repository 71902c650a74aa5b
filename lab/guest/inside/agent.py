"""The first process of a guest: makes its root, opens the channel to the host, runs jobs, and reaps what nobody waits for.

Started by the kernel (User-mode Linux) or by the initramfs, as a script; what it must know stands in its environment, where the
kernel puts what its command line says: LAB_MODULES, LAB_LOAD, LAB_TRIAL, LAB_PORT,
LAB_SEED, LAB_WARP. It never ends: the host ends the guest. If it fails, the
kernel panics, and the console has the traceback.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # instead of the folder of this script, where stdlib's names might be
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import select
import signal
import termios
import time
import tty

from lab.guest.frames import CHUNK, LINE, Decoder, Frame, Kind, Window, credit_frame, of_json
from lab.guest.inside import furnish, metronome
from lab.guest.inside.jobs import Job

_TOLD = ("LAB_MODULES", "LAB_LOAD", "LAB_TRIAL", "LAB_PORT", "LAB_SEED", "LAB_WARP")
_PORTS = "/sys/class/virtio-ports"
_PORT_WITHIN = 20.0  # seconds
_LOOK_AGAIN = 5  # milliseconds
_ENOUGH = 512 * 1024  # bytes that wait to be sent; more are not made


def main() -> None:
    """Never returns."""
    said = {name: os.environ.pop(name, "") for name in _TOLD}
    furnish.furnish(said["LAB_MODULES"], said["LAB_LOAD"], said["LAB_TRIAL"])
    _speak_on_the_console()
    furnish.settle(said["LAB_SEED"])
    if said["LAB_WARP"]:
        metronome.start()
    Agent(_open_port(said["LAB_PORT"]), Window(LINE) if said["LAB_PORT"] else None).serve()


def _speak_on_the_console() -> None:
    console = os.open("/dev/console", os.O_RDWR | os.O_NOCTTY)
    for fd in (0, 1, 2):
        os.dup2(console, fd)
    os.close(console)


def _open_port(path: str) -> int:
    """A tty where `path` names one, else the virtio port of the name `lab`, once the host has told its name."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    if path:
        fd = os.open(path, flags)
        tty.setraw(fd, termios.TCSANOW)
        return fd
    deadline = time.monotonic() + _PORT_WITHIN
    while not (name := _port_named("lab")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no port named lab in {_PORTS}")
        select.select([], [], [], _LOOK_AGAIN / 1000)
    return os.open(f"/dev/{name}", flags)


def _port_named(wanted: str) -> str:
    try:
        ports = os.listdir(_PORTS)
    except FileNotFoundError:
        return ""
    for port in ports:
        try:
            with open(f"{_PORTS}/{port}/name", encoding="ascii") as file:
                if file.read().strip() == wanted and os.path.exists(f"/dev/{port}"):
                    return port
        except FileNotFoundError:
            continue
    return ""


class Agent:
    """One loop over the channel and the streams of every job."""

    def __init__(self, port: int, line: Window | None) -> None:
        """`line` where the host counts what it sends."""
        self._port, self._line = port, line
        self._decoder = Decoder()
        self._out = bytearray()
        self._jobs: dict[int, Job] = {}
        self._wake, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._say(of_json(Kind.READY, 0, {"release": os.uname().release, "uptime": time.clock_gettime(time.CLOCK_BOOTTIME)}))

    def serve(self) -> None:
        """For ever."""
        while True:
            ready = self._wait()
            if ready.pop(self._wake, 0):
                os.read(self._wake, 4096)
                self._reap()
            events = ready.pop(self._port, 0)
            if events & ~select.POLLOUT:
                self._hear()
            for job in [*self._jobs.values()]:
                self._attend(job, ready)
            if self._out:
                self._flush()

    def _wait(self) -> dict[int, int]:
        wished = {self._wake: select.POLLIN, self._port: select.POLLIN | (select.POLLOUT if self._out else 0)}
        if len(self._out) < _ENOUGH:
            for job in self._jobs.values():
                wished.update(job.wishes())
        poll = select.poll()
        for fd, events in wished.items():
            poll.register(fd, events)
        busy = any(job.busy for job in self._jobs.values()) and len(self._out) < _ENOUGH
        return dict(poll.poll(0 if busy else None))

    def _say(self, frame: Frame) -> None:
        self._out += frame.encode()

    def _flush(self) -> None:
        try:
            sent = os.write(self._port, memoryview(self._out)[:CHUNK])
        except BlockingIOError:
            return
        del self._out[:sent]

    def _hear(self) -> None:
        try:
            data = os.read(self._port, CHUNK)
        except BlockingIOError:
            return
        if self._line and (taken := self._line.take(len(data))):
            self._say(credit_frame(0, Kind.READY, taken))
        for frame in self._decoder.feed(data):
            self._obey(frame)

    def _obey(self, frame: Frame) -> None:
        if frame.kind is Kind.PING:
            self._say(Frame(Kind.PONG, frame.job))
        elif frame.kind is Kind.JOB:
            self._jobs[frame.job] = Job(frame.job, frame.json())
        elif job := self._jobs.get(frame.job):
            job.obey(frame)

    def _attend(self, job: Job, ready: dict[int, int]) -> None:
        for frame in job.attend(ready, len(self._out) < _ENOUGH):
            self._say(frame)
        if job.told:
            del self._jobs[job.number]

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for job in self._jobs.values():
                if job.pid == pid:
                    job.ended(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
