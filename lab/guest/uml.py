"""Guest -> the command line of User-mode Linux. Pure.

Its root is the host's tree by hostfs; that nothing in it can be written is the matter of the mount namespace that it is started
in (`lab.guest.confine`). One processor; its console goes to descriptor 1.
"""

from __future__ import annotations

from lab.guest.spec import Guest, quoted

PORT = "/dev/ttyS0"
SCRATCH = "/dev/shm"
"""Where it keeps its memory and its sockets: a tmpfs of its own in its mount namespace."""


def argv(guest: Guest, channel: int) -> list[str]:
    """`channel` is the descriptor of a socket that the process inherits. Raises ValueError."""
    interpreter, script = guest.agent
    variables = {"LAB_PORT": PORT, **guest.environment}
    return [
        str(guest.image),
        *(f"mem={guest.memory}M", "seccomp=auto", "rootfstype=hostfs", f"rootflags={quoted(str(guest.root))}", "ro"),
        *("con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{channel}", f"uml_dir={SCRATCH}/", "umid=lab"),
        *("quiet", "panic=-1", "oops=panic"),
        *(quoted(f"{name}={value}") for name, value in variables.items() if value),
        *(quoted(f"init={interpreter}"), "--", "-S", quoted(script)),
    ]
