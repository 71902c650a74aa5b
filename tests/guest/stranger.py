"""What a stranger's scenario tries as the root of its guest; each check holds where it finds nothing of the host's.

Run by `lab --kernel … run bug.py`, see test_untrusted.py, which writes a copy with what there is to be found in `PLACES`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lab import Lab
from lab.guest.inside.furnish import MS_BIND, mount

PLACES: dict[str, list[str]] = {}
"""`token`: what stands in every secret; `secrets`, `neighbours`: paths; `tops`: where secrets are looked for; `report`: the
folder of the report."""

AGAIN = "/mnt/again"
MS_REMOUNT = 32  # linux/mount.h
SMALL = 1 << 20  # bytes
LARGE = {"proc", "sys", "usr", "dev", "lib", "lib64", "modules", "bin", "lab", "alternatives", "certs"}
"""Folders that are left out: the system, Python, and the package."""

Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def mounted(source: str, target: str, kind: str | None, flags: int, data: str = "") -> bool:
    try:
        mount(source, target, kind, flags, data)
    except OSError:
        return False
    return True


def seen(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if os.path.lexists(path)]


def files(top: str) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in LARGE]
        yield from (Path(folder, name) for name in names)


def told(path: Path, token: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size < SMALL and token in path.read_bytes()
    except OSError:
        return False


def written(folder: str) -> bool:
    try:
        Path(folder, "stranger-was-here").write_text("x")
    except OSError as error:
        assert error.errno in (errno.EROFS, errno.ENOENT, errno.EACCES)
        return False
    return True


def test_secrets() -> None:
    """No secret file is there."""
    assert seen([*PLACES["secrets"], "/etc/shadow", "/etc/gshadow", "/root/.ssh", "/root/.bash_history"]) == []


def test_neighbours() -> None:
    """Nothing that lies beside the scenario is there, but its topology."""
    assert seen(PLACES["neighbours"]) == []
    assert Path(__file__).with_suffix(".yaml").is_file()


def test_everything() -> None:
    """No small file outside of the system holds the secret's text."""
    token = PLACES["token"][0].encode()
    assert [path for top in PLACES["tops"] for path in files(top) if told(path, token) and path != Path(__file__)] == []


def test_environment() -> None:
    """The secret of the environment is in no process and not on the kernel's command line."""
    token = PLACES["token"][0].encode()
    assert token not in b"".join(os.environb.values())
    found = [path for path in (*Path("/proc").glob("[0-9]*/environ"), Path("/proc/cmdline")) if token in path.read_bytes()]
    assert found == []


def test_hostfs() -> None:
    """The host's files are not mounted by hostfs."""
    Path(AGAIN).mkdir(exist_ok=True)
    assert not any(mounted("none", AGAIN, "hostfs", 0, folder) for folder in ("/", "/root"))


def test_second_mount() -> None:
    """The share is not mounted a second time."""
    Path(AGAIN).mkdir(exist_ok=True)
    for tag in ("lab", "root", "hostshare", "/dev/root"):
        assert not mounted(tag, AGAIN, "9p", 0, "trans=virtio,version=9p2000.L")
        assert not mounted(tag, AGAIN, "virtiofs", 0)


def test_remount() -> None:
    """What the host shares cannot be written where it is seen past the layer, remounted or not."""
    place = f"/lib/modules/{os.uname().release}"
    assert any(line.split()[1] in (place, f"/usr{place}") for line in Path("/proc/mounts").read_text().splitlines())
    assert not written(place)
    for flags in (MS_REMOUNT, MS_REMOUNT | MS_BIND):
        assert mounted("lab", place, None, flags)
        assert not written(place)


def test_elsewhere() -> None:
    """What is written into the layer stays there."""
    for path in (*PLACES["secrets"], *PLACES["neighbours"], __file__):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).with_name("stranger-was-here").write_text("x")


def test_raw_devices() -> None:
    """There is no disk, no network device and no port of the host's hardware."""
    disks = [path for path in Path("/sys/block").iterdir() if not path.name.startswith(("loop", "ram", "zram", "nbd"))]
    cards = [path for path in Path("/sys/class/net").iterdir() if (path / "device").exists()]
    assert (disks, cards) == ([], [])


def test_report() -> None:
    """More files than a report has, and links, are left beside it."""
    folder = Path(PLACES["report"][0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".profile").write_text("x")
    (folder / "run.json.d").mkdir()
    (folder / "run.json.d" / "index.html").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")


def test_lab(report_table: Report) -> None:
    """The stranger's own topology comes up, and its ping comes back."""
    with Lab.up(Path(__file__).with_suffix(".yaml")) as lab:
        lab["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
        report_table("nodes", ("name",), [(node.name,) for node in lab])
