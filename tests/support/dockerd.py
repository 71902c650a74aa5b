"""A Docker daemon of the tests' own, with its socket, data and control groups, and images made without any registry.

Everything of it lies below a directory that is named as run directories are, so that the leak checks of others tell its mounts
and containers apart. It ends with who started it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from support.world import DOCKER

IMAGE = "busybox:lab"
"""busybox, with all its applets, and the user www (id 33)."""
BARE = "bare:lab"
"""One program, /sleep, and nothing else: no shell, no libc, no /etc/passwd."""
_READY_WITHIN, _ENDED_WITHIN = 90.0, 60.0
_LOOK_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class Daemon:
    folder: Path
    pid: int

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.folder}/docker.sock"

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """docker.DockerClient, which is typed in parts only."""
        client = docker.DockerClient(self.host, timeout=120)
        try:
            yield client
        finally:
            client.close()

    def containers(self, **labels: str) -> list[str]:
        """The names of all, running or not, that have these labels; dots are written as two underscores."""
        wished = [f"{name.replace('__', '.')}={value}" for name, value in labels.items()]
        with self.client() as client:
            return sorted(each["Names"][0][1:] for each in client.api.containers(all=True, filters={"label": wished}))


@contextlib.contextmanager
def daemon() -> Iterator[Daemon]:
    """While it runs, with its images; its containers are removed before it ends."""
    folder = Path(f"/run/{DOCKER}{os.getpid()}")
    folder.mkdir()
    group = f"/{folder.name}"
    try:
        with (folder / "log").open("wb") as log, _process(folder, group, log) as process:
            made = Daemon(folder, process.pid)
            _until_ready(made, process)
            _import_images(made)
            yield made
            with made.client() as client:
                for each in client.containers.list(all=True):
                    each.remove(force=True)
    finally:
        _remove(folder, group)


@contextlib.contextmanager
def _process(folder: Path, group: str, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    places = [f"--{name}={folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    grouped = [f"--cgroup-parent={group}", "--exec-opt=native.cgroupdriver=cgroupfs"]
    alone = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    argv = ["dockerd", "--host", f"unix://{folder}/docker.sock", *places, *grouped, *alone, "--storage-driver=vfs"]
    with subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *argv], stdout=log, stderr=log, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_ENDED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()  # its containerd ends with it, for it sees its standard input closed


def _until_ready(made: Daemon, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        with socket.socket(socket.AF_UNIX) as asked:  # the SDK forgets to close one that finds nobody
            if asked.connect_ex(str(made.folder / "docker.sock")) == 0:
                break
        said = (made.folder / "log").read_text(errors="replace")[-2000:]
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(_LOOK_AGAIN)
    with made.client() as client:
        client.ping()


def _import_images(made: Daemon) -> None:
    busybox = program()
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    users = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n"
    with made.client() as client:
        for name, data in (
            (IMAGE, archive(busybox, "bin/busybox", [f"bin/{each}" for each in applets], {"etc/passwd": users})),
            (BARE, archive(busybox, "sleep", [], {})),
        ):
            repository, _, tag = name.partition(":")
            client.api.import_image_from_data(data, repository, tag, changes=['CMD ["sh"]'] if name == IMAGE else None)


def program() -> Path:
    """The host's busybox, which is linked statically."""
    return Path(shutil.which("busybox") or "/bin/busybox")


def archive(program: Path, place: str, links: list[str], files: dict[str, bytes]) -> bytes:
    """A root directory as a tar archive: a program, links to it, and files."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as made:
        for folder in ("bin", "etc", "tmp", "www") if links else ():
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777 if folder == "tmp" else 0o755
            made.addfile(entry)
        made.add(program.resolve(), place)
        for link in links:
            if link != place:
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"/{place}"
                made.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def _remove(folder: Path, group: str) -> None:
    """What the daemon leaves: mounts of its own folders, files, and empty control groups."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((each for each in points if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True)
    shutil.rmtree(folder)
    for pattern in (f".{group}", f"*{group}"):
        for path in Path("/sys/fs/cgroup").glob(pattern):
            with contextlib.suppress(OSError):
                path.rmdir()
