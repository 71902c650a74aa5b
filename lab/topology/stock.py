"""The stock of renderers: the process that has Jinja2 loaded and forks a renderer for each wish; it runs no template itself.

Run as `python -I -S`, since it must know nothing of where it was started. It ends when its standard input does.

    owner ── control (its standard input, SOCK_SEQPACKET) ──> stock
    owner → stock   one message + leash, request and answer (see render.py), and the end of a socket for the report
    stock → report  one message + pidfd of the renderer; then its exit status as four bytes, negative for a signal
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from lab.topology import render

_FDS = 4
"""How many descriptors come with a wish."""


def main() -> None:
    """Until nobody is left who could wish."""
    control = socket.socket(fileno=0)
    poll, living = select.poll(), dict[int, tuple[int, socket.socket]]()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in living:
                poll.unregister(fd)
                _report(fd, *living.pop(fd))
            elif not (fds := socket.recv_fds(control, 1, _FDS, socket.MSG_CMSG_CLOEXEC)[1]):
                return
            else:
                pidfd, pid, report = _forked(fds)
                living[pidfd] = pid, report
                poll.register(pidfd, select.POLLIN)


def _forked(fds: list[int]) -> tuple[int, int, socket.socket]:
    pid = os.fork()
    if not pid:
        _become(fds)
    *given, last = fds
    for fd in given:
        os.close(fd)
    pidfd, report = os.pidfd_open(pid), socket.socket(fileno=last)
    with suppress(OSError):  # who wished it is gone, and the leash with him
        socket.send_fds(report, [b"\n"], [pidfd])
    return pidfd, pid, report


def _report(pidfd: int, pid: int, report: socket.socket) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with report, suppress(OSError):
        report.send(status.to_bytes(4, sys.byteorder, signed=True))
    os.close(pidfd)


def _become(fds: list[int]) -> NoReturn:
    """The life of a renderer."""
    status = 1
    try:
        leash, request, answer, _ = fds
        for ours, theirs in ((leash, 0), (answer, 1), (answer, 2), (request, render.REQUEST)):
            os.dup2(ours, theirs)
        os.closerange(render.REQUEST + 1, 256)
        render.main()
        sys.stdout.flush()
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
