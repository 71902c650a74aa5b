"""Commands on nodes, with their input and output: `popen` for one that goes on, `run` for one that is waited for.

The whole client side of a node's processes is reached from here: making inits (spawner.py), reaching them (inits.py), ending
them (endings.py) and, added by this module, pipes that are filled and emptied without deadlock. Which node an init is of, when
it is made and what becomes of a record is the caller's matter; terminals are terminal.py's.

    Exception
    └── CommandError            a command ended with a status other than 0; `result` has what it said
        └── CommandTimeout      it did not end in time, and was killed with its whole session; also a TimeoutError
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import shlex
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TextIO

from lab.substrate.endings import InitRecord, end, end_all, end_strays, milliseconds
from lab.substrate.inits import Init, Running
from lab.substrate.spawner import Spawner

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Argv",
    "CommandError",
    "CommandTimeout",
    "Init",
    "InitRecord",
    "Process",
    "Result",
    "Running",
    "Spawner",
    "end",
    "end_all",
    "end_strays",
    "popen",
    "run",
]

Argv = Sequence[str | os.PathLike[str]]

_KILL_PATIENCE = 5.0
"""Seconds until a process that was sent SIGKILL must be gone; only one in an uninterruptible call is not."""
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Result:
    """What a command came to: `status` is negative for a signal; the output is read as UTF-8, other bytes as U+FFFD."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class CommandError(Exception):
    """A command failed; the message names the node, the command and the last lines that it wrote."""

    def __init__(self, node: str, result: Result, how: str = "") -> None:
        self.node, self.result = node, result
        how = how or in_words(result.status)
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-_LAST_LINES:]
        said = "".join(f"\n    {line}" for line in lines) or "\n    (it wrote nothing)"
        super().__init__(f"node {node}: {shlex.join(result.argv)}: {how}{said}")


class CommandTimeout(CommandError, TimeoutError):  # noqa: N818 - as TimeoutError and subprocess.TimeoutExpired
    """A command did not end in time; it and its whole session were killed. `result` has what it had written."""


def in_words(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


class Process:
    """A command that runs on a node; `stdin`, `stdout` and `stderr` are text streams where they were asked as PIPE.

    Their `.buffer` gives bytes. It belongs to who holds it: `close`, the end of the `with` block and the loss of the
    last reference kill what still runs of its session, unless it was started with `keep`.
    """

    def __init__(
        self,
        node: str,
        argv: tuple[str, ...],
        running: Running,
        stdin: TextIO | None,
        stdout: TextIO | None,
        stderr: TextIO | None,
        keep: bool = False,
    ) -> None:
        self.node, self.argv = node, argv
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._running, self._keep = running, keep

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._give_back()

    def __repr__(self) -> str:
        return f"<Process {self.pid} on {self.node}: {shlex.join(self.argv)}>"

    @property
    def pid(self) -> int:
        """Its pid as the processes of its node see it."""
        return self._running.ns_pid

    def fileno(self) -> int:
        """Readable once the process has ended; raises ValueError when closed."""
        return self._running.fileno()

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._running.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status; raises TimeoutError after `timeout` seconds, without touching the process."""
        try:
            return self._running.wait(timeout)
        except TimeoutError:
            raise TimeoutError(f"node {self.node}: {shlex.join(self.argv)}: still runs after {timeout} s") from None

    def signal(self, number: int) -> None:
        """Sends a signal to this process alone; nothing where it has ended."""
        self._running.signal(number)

    def terminate(self) -> None:
        """Sends SIGTERM to its process group, so that the child of a shell hears it too."""
        self._running.signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Kills its whole session."""
        self._running.kill()

    def close(self) -> None:
        """Kills what still runs and waits for its end, unless it was started with `keep`; gives everything back."""
        if not self._keep and not self._running.closed:
            self._running.kill()
            with contextlib.suppress(TimeoutError):  # nothing but the end of an uninterruptible call can end it
                self._running.wait(_KILL_PATIENCE)
        self._give_back()

    def _give_back(self) -> None:
        self._running.close()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was left to write has no reader any more
                    stream.close()

    def communicate(self, input: str | bytes | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Writes `input`, reads both outputs and waits for the end; returns what was read.

        Not for a process whose streams were read or written before. It ends with the process: a child left in the
        background may hold the pipes open for longer. After `timeout` seconds the whole session is killed and
        CommandTimeout raised, with what was read until then.
        """
        if input and self.stdin is None:
            raise ValueError("there is input, but the process was started without stdin=PIPE")
        data = input.encode() if isinstance(input, str) else input or b""
        exchange = _Exchange(self._running, self.stdin, self.stdout, self.stderr, data)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not exchange.carry_on(deadline):
            self.kill()
            exchange.carry_on(time.monotonic() + _KILL_PATIENCE)
            result = Result(self.argv, -signal.SIGKILL, *exchange.texts())
            raise CommandTimeout(self.node, result, f"killed: it did not end within {timeout} s")
        return exchange.texts()


class _Exchange:
    """The pipes and the end of one process in one poll loop."""

    def __init__(
        self, running: Running, stdin: TextIO | None, stdout: TextIO | None, stderr: TextIO | None, data: bytes
    ) -> None:
        self._running, self._data = running, memoryview(data)
        self._stdin = stdin if stdin is not None and not stdin.closed else None
        self._outputs = [bytearray(), bytearray()]
        self._sinks = {s.fileno(): out for s, out in zip((stdout, stderr), self._outputs, strict=True) if s}
        self._poll = select.poll()
        for fd in (running.fileno(), *self._sinks):
            self._poll.register(fd, select.POLLIN)
        if self._stdin is not None:
            self._poll.register(self._stdin.fileno(), select.POLLOUT)

    def texts(self) -> tuple[str, str]:
        """(stdout, stderr) as far as they were read."""
        stdout, stderr = (output.decode("utf-8", "replace") for output in self._outputs)
        return stdout, stderr

    def carry_on(self, deadline: float | None) -> bool:
        """Goes on until the process has ended; False where the deadline comes first."""
        while self._running.poll() is None:
            events = self._poll.poll(milliseconds(deadline))
            if not events and deadline is not None and time.monotonic() >= deadline:
                return False
            for fd, _ in events:
                self._step(fd)
        self._read_what_is_left()
        return True

    def _step(self, fd: int) -> None:
        if fd in self._sinks:
            self._read(fd, 1 << 16)
        elif self._stdin is not None and fd != self._running.fileno():
            self._write(self._stdin)

    def _read(self, fd: int, most: int) -> None:
        data = os.read(fd, most)
        self._sinks[fd] += data
        if not data:
            del self._sinks[fd]
            self._poll.unregister(fd)

    def _write(self, stdin: TextIO) -> None:
        """At most PIPE_BUF bytes: poll(2) promises no more room than that."""
        sent = 0
        with contextlib.suppress(BrokenPipeError):
            sent = os.write(stdin.fileno(), self._data[: select.PIPE_BUF])
        self._data = self._data[sent:]
        if not (sent and self._data):
            self._poll.unregister(stdin.fileno())
            stdin.close()
            self._stdin = None

    def _read_what_is_left(self) -> None:
        """What the pipes hold now that the process has ended, and not what others may still write into them."""
        for fd in tuple(self._sinks):
            (left,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
            self._sinks[fd] += os.read(fd, left) if left else b""


class _PipeEnd(io.FileIO):
    """Goes with its process: no warning where garbage collection frees it before the `Process` that would close it."""

    def __del__(self) -> None:
        self.close()

    def _dealloc_warn(self, source: object) -> None: ...


class _Stdio:
    """The three descriptors for a new process; those that this process keeps become text streams."""

    def __init__(self) -> None:
        self._theirs = contextlib.ExitStack()
        self._ours = contextlib.ExitStack()

    def __enter__(self) -> _Stdio:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._theirs.close()
        if failed:
            self._ours.close()

    def input(self, wish: int) -> tuple[int, TextIO | None]:
        if wish != PIPE:
            return self._plain(wish), None
        reader, writer = self._pipe()
        buffer = io.BufferedWriter(_PipeEnd(writer, "w"))
        return self._given(reader), self._kept(io.TextIOWrapper(buffer, encoding="utf-8", line_buffering=True))

    def output(self, wish: int, stdout: int = -1) -> tuple[int, TextIO | None]:
        if wish == STDOUT:
            return stdout, None
        if wish != PIPE:
            return self._plain(wish), None
        reader, writer = self._pipe()
        buffer = io.BufferedReader(_PipeEnd(reader))
        return self._given(writer), self._kept(io.TextIOWrapper(buffer, encoding="utf-8", errors="replace"))

    def _pipe(self) -> tuple[int, int]:
        return os.pipe2(os.O_CLOEXEC)

    def _plain(self, wish: int) -> int:
        return self._given(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) if wish == DEVNULL else wish

    def _given(self, fd: int) -> int:
        self._theirs.callback(os.close, fd)
        return fd

    def _kept(self, stream: TextIO) -> TextIO:
        return self._ours.enter_context(stream)


def popen(
    init: Init,
    argv: Argv,
    *,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    keep: bool = False,
    name: str | None = None,
) -> Process:
    """Starts a command. Each stream is a descriptor, PIPE, DEVNULL or, for stderr, STDOUT, as in `subprocess`.

    `env` is the whole environment and `cwd` a directory as the node sees it; both are this process's where None. Under its
    `name` the node's init finds it for others. Raises as `Init.spawn` does: OSError where there is no such command or
    directory, StepError where the node's init is gone.
    """
    with _Stdio() as stdio:
        their_in, our_in = stdio.input(stdin)
        their_out, our_out = stdio.output(stdout)
        their_err, our_err = stdio.output(stderr, their_out)
        running = init.spawn(argv, stdin=their_in, stdout=their_out, stderr=their_err, env=env, cwd=cwd, keep=keep, name=name)
        return Process(init.node, tuple(os.fspath(word) for word in argv), running, our_in, our_out, our_err, keep)


def run(
    init: Init,
    argv: Argv,
    *,
    check: bool = True,
    timeout: float | None = 30.0,
    input: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Result:
    """Runs a command to its end; raises CommandError where `check` and its status is not 0.

    Raises CommandTimeout after `timeout` seconds, and what `popen` raises where it could not be started.
    """
    with popen(init, argv, stdin=DEVNULL if input is None else PIPE, env=env, cwd=cwd) as process:
        stdout, stderr = process.communicate(input, timeout)
        result = Result(process.argv, process.wait(), stdout, stderr)
    if check and result.status != 0:
        raise CommandError(init.node, result)
    return result
