"""The Dockerfile, for real: with the privileges lab runs its first experiment in a container, without them it says which.

A Docker daemon of these tests' own, in a PID and a mount namespace that end with it, has no network of its own and no
registry. What the Dockerfile calls debian:bookworm-slim is a Debian that was made here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import debian
from support.commands import REPOSITORY, Said

from lab import __version__

SECONDS = 1200.0  # to build on a busy host
_READY_WITHIN, _ENDS_WITHIN = 60.0, 60.0
_AGAIN = 0.05
_CGROUPS = Path("/sys/fs/cgroup")
_WITHOUT_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
# What --privileged gives, where this host's root lacks CAP_SYS_RESOURCE: with that missing no container can be privileged.
_NEARLY = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
)
_UNMASKED = "--security-opt=systempaths=unconfined"
_SYS_RESOURCE = 24  # include/uapi/linux/capability.h

pytestmark = [
    pytest.mark.root,
    pytest.mark.soak,
    pytest.mark.skipif(not shutil.which("dockerd") or not shutil.which("mmdebstrap"), reason="no dockerd or no mmdebstrap"),
]


@dataclass(frozen=True, slots=True)
class Docker:
    """Its client, told which daemon."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": f"unix://{self.folder}/docker.sock", "DOCKER_BUILDKIT": "0"}

    def __call__(self, *words: str | Path) -> Said:
        argv = ["docker", *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False, env=self.environment)
        return Said(done.returncode, done.stdout, done.stderr)

    def lab(self, *words: str, options: tuple[str, ...] = ()) -> Said:
        """`docker run … IMAGE WORDS`"""
        return self("run", "--rm", "--network=none", *options, "lab", *words)


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[Docker]:
    group = f"lab-test-{os.getpid()}"
    places = [
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        f"--cgroup-parent=/{group}",
    ]
    argv = [*_ALONE, "dockerd", f"--host=unix://{folder}/docker.sock", *places, *_WITHOUT_NETWORK]
    docker = Docker(folder)
    with (folder / "log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            until_ready(docker, process)
            yield docker
        finally:
            end(process)
    for path in (*_CGROUPS.glob(f"*/{group}"), *_CGROUPS.glob(group)):
        path.rmdir()


def end(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM to the daemon, the first process of its PID namespace: whatever is in that has ended when it has."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()), signal.SIGTERM)
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def until_ready(docker: Docker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while docker("info").status != 0:
        said = (docker.folder / "log").read_text()[-2000:]
        assert process.poll() is None and time.monotonic() < deadline, said
        time.sleep(_AGAIN)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """A daemon that has the image `lab`."""
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder, daemon(Path(folder)) as docker:
        base = debian.made(Path(folder, "root"))
        packed = Path(folder, "root.tar")
        subprocess.run(["tar", "-C", base.root, "-cf", packed, "."], check=True, timeout=SECONDS)
        shutil.rmtree(base.root)
        assert docker("import", packed, "debian:bookworm-slim").status == 0
        packed.unlink()
        said = docker("build", "--network=host", "--tag=lab", REPOSITORY)
        assert said.status == 0, said.stdout[-4000:] + said.stderr[-4000:]
        yield docker


def privileged() -> tuple[str, ...]:
    mask = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)
    return ("--privileged",) if mask >> _SYS_RESOURCE & 1 else (*_NEARLY, _UNMASKED, "--device=/dev/kmsg")


def test_the_image_runs_lab(docker: Docker) -> None:
    assert docker.lab("--version").stdout == f"lab {__version__}\n"
    assert "Usage: lab " in docker.lab().stdout


def test_with_the_privileges_the_first_experiment_holds(docker: Docker) -> None:
    said = docker.lab("run", "rp-filter", options=privileged())
    assert said.status == 0, said.stdout[-4000:] + said.stderr
    assert "held" in said.stdout.splitlines()[-1]


def test_two_capabilities_and_an_open_proc_are_enough(docker: Docker) -> None:
    """Without the device of the kernel's log its checks are skipped."""
    options = ("--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", _UNMASKED, "--security-opt=apparmor=unconfined")
    said = docker.lab("run", "rp-filter", options=options)
    assert said.status == 0, said.stdout[-4000:] + said.stderr
    assert "/dev/kmsg cannot be opened" in said.stdout


def test_daemons_of_the_experiments_are_there(docker: Docker) -> None:
    """FRR and BIRD, whose packages bring users and folders of their own."""
    said = docker.lab("run", "bgp-md5", options=privileged())
    assert said.status == 0, said.stdout[-4000:] + said.stderr


def test_without_privileges_it_says_all_that_is_missing(docker: Docker) -> None:
    said = docker.lab("run", "rp-filter")
    assert (said.status, said.stdout) == (3, "")
    assert said.stderr == (
        "lab: 2 problems\n"
        "root has no CAP_NET_ADMIN and no CAP_SYS_ADMIN here\n"
        "    in a container: start it with --privileged, or with these capabilities added (--cap-add)\n"
        "/proc/sys is read-only: nothing that a node is set to can be written\n"
        "    in a container: --privileged, or --security-opt with systempaths=unconfined (docker) or unmask=ALL (podman)\n"
    )


def test_with_the_capabilities_alone_it_says_what_is_still_missing(docker: Docker) -> None:
    said = docker.lab("up", "two-hosts", options=("--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN"))
    assert said.status == 3
    assert "lab: /proc/sys is read-only" in said.stderr


def test_a_users_own_topology_is_seen_where_the_container_works(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nnodes: {a: {}, b: {}}\nlinks: [{endpoints: [a, b]}]\n")
    said = docker.lab("validate", "mine.yaml", options=(f"--volume={tmp_path}:/work:ro",))
    assert (said.status, said.stdout) == (0, "mine.yaml: mine is well: 2 nodes, 1 link\n")


def test_nothing_of_the_workshop_is_in_the_image(docker: Docker) -> None:
    said = docker("run", "--rm", "--network=none", "--entrypoint=ls", "lab", "-A", "/usr/src/lab")
    names = set(said.stdout.split())
    assert {"lab", "topologies", "templates", ".venv"} <= names
    assert not names & {".git", "build", "dist", ".vagrant", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
