"""FRRouting's daemons on one node, in the foreground: frr.py zebra DAEMON…

zebra comes first, for who cannot reach it tries again only after 10 s. Once each answers at its socket, the configuration is
given to all of them by `vtysh -b`, as on any host. What they say goes to stdout. When one of them ends, all do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS, STATE, CONFIGURATION = "/usr/lib/frr", "/run/frr", "/etc/frr"
ANSWERS_WITHIN, ENDS_WITHIN = 10.0, 5.0
LOOK_AGAIN = 0.005

Daemons = dict[str, "subprocess.Popen[bytes]"]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    daemons: Daemons = {}
    furnish(Path.cwd())
    try:
        for name in sys.argv[1:]:
            daemons[name] = start(name)
            if name == "zebra":
                wait_for_answer(name, daemons)
        for name in daemons:
            wait_for_answer(name, daemons)
        configure()
        print("configured")
        sys.exit(in_words(daemons, *os.wait()))
    finally:
        end(daemons)


def furnish(folder: Path) -> None:
    """The places where FRR's programs look by themselves lead to the service's folder."""
    for place, target in ((Path(STATE), folder), (Path(CONFIGURATION, "frr.conf"), folder / "frr.conf")):
        with contextlib.suppress(FileExistsError):
            place.symlink_to(target)
    Path(CONFIGURATION, "vtysh.conf").touch()


def start(name: str) -> subprocess.Popen[bytes]:
    """Without a port for telnet."""
    return subprocess.Popen([f"{PROGRAMS}/{name}", "--vty_port", "0", "--log", "stdout"])


def wait_for_answer(name: str, daemons: Daemons) -> None:
    deadline = time.monotonic() + ANSWERS_WITHIN
    while not answers(name):
        if (status := daemons[name].poll()) is not None:
            sys.exit(f"{name} ended with status {status}")
        if time.monotonic() > deadline:
            sys.exit(f"{name} does not answer at {STATE}/{name}.vty")
        time.sleep(LOOK_AGAIN)


def answers(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(f"{STATE}/{name}.vty") == 0


def configure() -> None:
    done = subprocess.run(["vtysh", "-b"], check=False)
    if done.returncode:
        sys.exit(f"frr.conf was not taken: vtysh ended with status {done.returncode}")


def in_words(daemons: Daemons, pid: int, status: int) -> str:
    name = next(name for name, each in daemons.items() if each.pid == pid)
    daemons.pop(name)
    code = os.waitstatus_to_exitcode(status)
    return f"{name} was killed by signal {-code}" if code < 0 else f"{name} ended with status {code}"


def end(daemons: Daemons) -> None:
    """zebra last: the others take back through it what they told the kernel."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for daemon in reversed(daemons.values()):
        daemon.terminate()
        try:
            daemon.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
