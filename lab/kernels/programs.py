"""Runs the programs that kernels are fetched with, several at a time, and ends them where this process is interrupted."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.errors import HostError

_PACKAGES = {"apt-get": "", "dpkg-deb": "dpkg", "depmod": "kmod"}
_ADMINISTRATORS = "/usr/local/sbin:/usr/sbin:/sbin"  # not in the PATH of every ordinary user
_NO_APT = "kernels are fetched by apt; one that lies here already is named by its path: lab kernels fetch ./vmlinuz"


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended, and all that it wrote."""

    status: int
    said: str


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Raises HostError where it is not installed."""
    return run_all([argv], [env or {}], cwd)[0]


def run_all(argvs: Sequence[Sequence[str]], envs: Sequence[Mapping[str, str]], cwd: Path | None = None) -> list[Done]:
    """All at a time; the results in their order. Where this process is interrupted they are killed."""
    running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
    try:
        for argv, env in zip(argvs, envs, strict=True):
            said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would have to be read meanwhile
            running.append((_started(argv, env, cwd, said), said))
        return [_ended(process, said) for process, said in running]
    finally:
        for process, said in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            said.close()


def _started(argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, said: IO[bytes]) -> subprocess.Popen[bytes]:
    path = f"{os.environ.get('PATH', os.defpath)}:{_ADMINISTRATORS}"
    everything = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", "PATH": path, **env}
    try:
        null = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=null, stdout=said, stderr=subprocess.STDOUT, env=everything, cwd=cwd)
    except FileNotFoundError as error:
        package = _PACKAGES.get(argv[0], argv[0])
        raise HostError(f"there is no {argv[0]} here", f"apt-get install {package}" if package else _NO_APT) from error


def _ended(process: subprocess.Popen[bytes], said: IO[bytes]) -> Done:
    status = process.wait()
    said.seek(0)
    return Done(status, said.read().decode("utf-8", "replace"))
