"""Ordinary users of a test's own, and commands that they run: `lab`, as somebody without any privilege types it.

The interpreter of these tests, its packages and this repository may lie where no other user reads, such as below root's
home. So every command gets a mount namespace of its own, which is gone with it, where they are bound below a folder that
anybody reads; then it becomes the user and executes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.commands import REPOSITORY, SECONDS, Said

_LOCKED_FOR = 30.0  # seconds that another program may hold /etc/passwd
_PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))
_BOUND = (("python", sys.base_prefix), ("packages", _PACKAGES), ("repository", str(REPOSITORY)))
# linux/sched.h and linux/mount.h: CLONE_NEWNS, MS_REC | MS_PRIVATE, MS_BIND | MS_REC.
_BECOME = """
import ctypes, os, sys
uid, gid, home, bound, before, *argv = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def done(result):
    assert result == 0, os.strerror(ctypes.get_errno())
done(libc.unshare(0x20000))
done(libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None))
for pair in bound.split(","):
    name, path = pair.split("=")
    os.makedirs(f"{home}/{name}", exist_ok=True)
    done(libc.mount(path.encode(), f"{home}/{name}".encode(), None, ctypes.c_ulong(0x5000), None))
exec(before)
os.setgroups([])
os.setresgid(int(gid), int(gid), int(gid))
os.setresuid(int(uid), int(uid), int(uid))
os.execv(argv[0], argv)
"""


@dataclass(frozen=True, slots=True)
class User:
    """`home` is a folder of the user's own, which others read. `before`, in Python, is done as root in the namespace of each
    command, before it becomes the user's."""

    name: str
    uid: int
    gid: int
    home: Path
    before: str = ""

    @property
    def python(self) -> tuple[str, ...]:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return (f"{self.home}/python/bin/{version}",)

    @property
    def lab(self) -> tuple[str, ...]:
        return (*self.python, "-m", "lab")

    def write(self, name: str, text: str) -> Path:
        """A file that only this user reads."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, self.uid, self.gid)
        return path

    def argv(self, *words: str | Path) -> list[str]:
        """What runs `words` as this user: the process that is started becomes theirs, with the same pid."""
        bound = ",".join(f"{name}={path}" for name, path in _BOUND)
        become = [sys.executable, "-I", "-S", "-c", _BECOME, str(self.uid), str(self.gid), str(self.home), bound, self.before]
        return [*become, *map(str, words)]

    def options(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """For subprocess: where, and with which environment."""
        paths = os.pathsep.join(f"{self.home}/{name}" for name in ("repository", "packages"))
        mine = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LD_LIBRARY_PATH": f"{self.home}/python/lib",  # where the interpreter is linked to a library of its own
            "PYTHONHOME": f"{self.home}/python",
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.home),
        }
        return {"cwd": self.home, "env": {**mine, **(env or {})}, "text": True}

    def run(self, *words: str | Path, env: Mapping[str, str] | None = None, timeout: float = SECONDS) -> Said:
        done = subprocess.run(self.argv(*words), capture_output=True, timeout=timeout, check=False, **self.options(env))
        return Said(done.returncode, done.stdout, done.stderr)

    def runs_lab(self, *words: str | Path, env: Mapping[str, str] | None = None) -> Said:
        return self.run(*self.lab, *words, env=env)

    @contextlib.contextmanager
    def started(
        self, *words: str | Path, env: Mapping[str, str] | None = None, **streams: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """A command while it runs; killed at the end of the block where it still does."""
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        with subprocess.Popen(self.argv(*words), **piped, **self.options(env)) as process:
            try:
                yield process
            finally:
                process.kill()


@contextlib.contextmanager
def new_user(subordinate: bool) -> Iterator[User]:
    """A user that is gone at the end of the block: with subordinate ids in /etc/subuid and /etc/subgid, or without."""
    name = f"labtest{secrets.token_hex(4)}"
    some = [] if subordinate else ["--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0"]
    _changed("useradd", "--no-create-home", "--user-group", "--shell", "/bin/sh", *some, name)
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    try:
        import pwd

        entry = pwd.getpwnam(name)
        for path in ("/etc/subuid", "/etc/subgid"):
            assert (f"{name}:" in Path(path).read_text()) == subordinate, path
        home.chmod(0o755)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        yield User(name, entry.pw_uid, entry.pw_gid, home)
    finally:
        shutil.rmtree(home)
        _changed("userdel", name)
    for path in ("/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"):
        assert f"{name}:" not in Path(path).read_text(), path


def _changed(*argv: str) -> None:
    """One of these at a time changes /etc/passwd: status 1 and 10 say that another one holds its lock (useradd(8))."""
    deadline = time.monotonic() + _LOCKED_FOR
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode == 0:
            return
        if "lock" not in done.stderr or time.monotonic() > deadline:
            raise AssertionError(f"{argv}: {done.stderr}")
        time.sleep(0.05)


def processes_of(user: User) -> list[str]:
    """Those that are the user's, and those that live in a user namespace of the user's making, whoever they are there."""
    return [f"{pid} {said}" for pid in os.listdir("/proc") if pid.isdigit() and (said := _said_if_of(user, pid))]  # noqa: PTH208


def _said_if_of(user: User, pid: str) -> str | None:
    with contextlib.suppress(OSError):
        folder = Path("/proc", pid)
        mapped = any(line.split()[1] == str(user.uid) for line in (folder / "uid_map").read_text().splitlines())
        if mapped or folder.stat().st_uid == user.uid:
            said = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return said or None  # what has ended has no command line: to reap it is the host's matter
    return None


def until_gone(user: User) -> None:
    """Until no process of the user's is left; what was killed ends in its own time."""
    deadline = time.monotonic() + SECONDS
    while left := processes_of(user):
        assert time.monotonic() < deadline, left
        time.sleep(0.005)
