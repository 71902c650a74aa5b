"""`lab kernels`: a kernel really fetched from Debian, listed and removed; and every way in which that can fail.

The host's apt is as it was before, and the user's cache is another one for each test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import LAB, Said, host, lab
from support.mirror import proxy

from lab.kernels import image, sources

SMALL = "cloud-6.1"
SECONDS = 180.0
SIGNED = b"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Suite: %s
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEE
=AAAA
-----END PGP SIGNATURE-----
"""


def kernels(cache: Path, *words: str, **more: str) -> Said:
    return lab("kernels", *words, timeout=SECONDS, env={"LAB_CACHE": str(cache), **more})


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Said]]:
    cache = tmp_path_factory.mktemp("cache")
    before = _hosts_apt()
    said = kernels(cache, "fetch", SMALL, "-f", "json")
    assert said.status == 0, said.stderr
    assert _hosts_apt() == before
    yield cache, said


def _hosts_apt() -> object:
    """What of the host an installation of a kernel, or another source, would change."""
    query = ["dpkg-query", "-W", "linux-image*", "busybox*"]
    installed = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    paths = [path for folder in ("/etc/apt", "/boot", "/lib/modules") for path in Path(folder).rglob("*")]
    return installed, sorted((str(path), path.lstat().st_mtime_ns) for path in paths)


def test_a_kernel_is_fetched_and_can_be_booted(fetched: tuple[Path, Said], monkeypatch: pytest.MonkeyPatch) -> None:
    from lab import kernels as seam

    cache, said = fetched
    (kernel,) = [each["kernel"] for each in said.json("fetched") if each["came"]]
    assert kernel["release"].startswith("6.1.0-")
    assert kernel["release"].endswith("-cloud-amd64")
    monkeypatch.setenv("LAB_CACHE", str(cache))
    found = seam.find(SMALL)
    assert image.release(found.image.read_bytes()) == found.release
    made = seam.bootable(found, ["virtiofs", "overlay"], {"/init": b"#!/bin/sh\n"})
    assert made.elf.read_bytes()[:4] == image.ELF
    names = made.initrd.read_bytes()
    assert b"modules/overlay.ko" in names
    assert b"modules/virtio_ring.ko" in names  # what virtiofs needs
    stamps = made.elf.stat().st_mtime_ns, made.initrd.stat().st_mtime_ns
    assert seam.bootable(found, ["virtiofs", "overlay"], {"/init": b"#!/bin/sh\n"}) == made
    assert (made.elf.stat().st_mtime_ns, made.initrd.stat().st_mtime_ns) == stamps


def test_what_is_here_is_not_fetched_again_and_needs_no_network(fetched: tuple[Path, Said]) -> None:
    with proxy(lambda _: (500, b"")) as through:
        said = kernels(fetched[0], "fetch", SMALL, **through)
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout.endswith("is here\n")


def test_the_list_has_what_runs_what_is_here_and_what_can_be_fetched(fetched: tuple[Path, Said]) -> None:
    """The suites that this cache has not seen cannot be reached, which is told once."""
    with proxy(lambda _: (404, b"")) as through:
        said = kernels(fetched[0], "-f", "json", **through)
    assert said.stderr.count("does not have it") == 1
    states = {row["release"]: row["state"] for row in said.json("kernels")}
    (release,) = [each["kernel"]["release"] for each in fetched[1].json("fetched")]
    assert states[os.uname().release] == "running"
    assert states[release] == "fetched"
    assert "available" in states.values()
    names = [row["name"] for row in said.json("kernels") if row["state"] == "available"]
    assert {"6.1", "uml-6.1"} <= set(names)


def test_what_is_removed_is_gone(fetched: tuple[Path, Said], tmp_path: Path) -> None:
    cache = tmp_path / "copy"
    subprocess.run(["cp", "-al", fetched[0], cache], check=True)  # links: nothing is copied
    assert kernels(cache, "rm", SMALL).status == 0
    assert not list(cache.rglob("vmlinuz"))
    assert list(fetched[0].rglob("vmlinuz"))
    again = kernels(cache, "rm", SMALL)
    assert again.status == 3
    assert "no kernel cloud-6.1 was fetched" in again.stderr


def test_a_kernel_that_nobody_fetched_is_named_with_the_command(tmp_path: Path) -> None:
    said = lab("--kernel", "5.10", "run", "rp-filter", env={"LAB_CACHE": str(tmp_path)})
    assert said.status == 3
    assert "lab kernels fetch 5.10" in said.stderr


@pytest.mark.parametrize("words", [("fetch", "six"), ("rm", "6"), ("fetch", "6.1", "nonsense"), ("fetch", "./no-such-file")])
def test_a_name_that_no_kernel_can_have_is_a_wrong_call(words: tuple[str, ...], tmp_path: Path) -> None:
    said = kernels(tmp_path, *words)
    assert said.status == 2
    assert not list(tmp_path.iterdir())


def test_without_network_it_says_so(tmp_path: Path) -> None:
    through = {"http_proxy": "http://127.0.0.1:9/", "https_proxy": "http://127.0.0.1:9/"}  # discard: nobody listens
    said = kernels(tmp_path, "fetch", SMALL, **through)
    assert said.status == 3
    assert "the mirror cannot be reached" in said.stderr
    assert "apt: " in said.stderr


def test_what_debian_did_not_sign_is_refused(tmp_path: Path) -> None:
    with proxy(lambda url: (200, SIGNED % b"bookworm") if url.endswith("/InRelease") else (404, b"")) as through:
        said = kernels(tmp_path, "fetch", SMALL, **through)
    assert said.status == 3
    assert "is not signed by Debian" in said.stderr
    assert not list(tmp_path.rglob("vmlinuz"))


def test_without_apt_it_says_what_to_do(tmp_path: Path) -> None:
    said = kernels(tmp_path, "fetch", SMALL, PATH=str(tmp_path))
    assert said.status == 3
    assert "there is no apt-get here" in said.stderr
    assert "lab kernels fetch ./vmlinuz" in said.stderr


def test_a_fetch_that_is_killed_leaves_nothing_half(fetched: tuple[Path, Said], tmp_path: Path) -> None:
    """The package stops on its way; what is left is swept by the next one."""
    cache = tmp_path / "copy"
    subprocess.run(["cp", "-al", fetched[0], cache], check=True)
    kernels(cache, "rm", SMALL)
    came, go_on = threading.Event(), threading.Event()

    def stops(_: str) -> tuple[int, bytes]:
        came.set()
        go_on.wait(SECONDS)
        return 500, b""

    with proxy(stops) as through:
        argv, env = [*LAB, "kernels", "fetch", SMALL], {**os.environ, "LAB_CACHE": str(cache), **through}
        with subprocess.Popen(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        ) as process:
            assert came.wait(SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
        go_on.set()
    assert list((cache / "kernels").glob(".new-*"))
    with proxy(lambda _: (404, b"")) as through:
        assert "fetched" not in {row["state"] for row in kernels(cache, "-f", "json", **through).json("kernels")}
        said = kernels(cache, "fetch", SMALL, **through)
    assert (said.status, "does not have it" in said.stderr) == (3, True), said.stderr
    assert not list((cache / "kernels").glob(".new-*"))


@pytest.mark.root
def test_a_full_disk_is_told_with_what_makes_room(fetched: tuple[Path, Said], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    host("mount", "-t", "tmpfs", "-o", "size=40m", "none", disk)
    try:
        apt = next(fetched[0].glob("kernels/apt"))
        (disk / "kernels").mkdir()
        subprocess.run(["cp", "-a", apt, disk / "kernels/apt"], check=True)
        for conf in disk.glob("kernels/apt/*/apt.conf"):
            conf.write_text(conf.read_text().replace(str(fetched[0]), str(disk)))
        said = kernels(disk, "fetch", SMALL)
        left = sorted(path.name for path in (disk / "kernels").iterdir())
    finally:
        host("umount", disk)
    assert said.status == 3
    assert "make room (lab kernels rm" in said.stderr
    assert left == ["apt"]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["5.10", "6.12", "latest", "cloud-7.2", "uml-6.1"])
def test_every_suite_gives_a_kernel_that_can_be_booted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab import kernels as seam

    assert kernels(tmp_path, "fetch", name).status == 0
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    found = seam.find(name)
    assert found.modules is not None
    assert (found.modules / "modules.dep").exists()
    if found.flavour != "uml":
        made = seam.bootable(found, ["overlay", "virtio_console", "8021q"], {"/init": b""})
        assert made.elf.read_bytes()[:4] == image.ELF
        assert b"modules/8021q.ko" in made.initrd.read_bytes()


def test_the_keyring_that_is_believed_is_debians() -> None:
    assert sources.KEYRING.exists()
