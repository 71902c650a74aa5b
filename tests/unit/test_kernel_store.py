"""The kernels that are here: found by name, removed, read from files and from the trees in which they were built."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from lab import kernels
from lab.errors import HostError, TopologyError
from lab.kernels import boot, files, image, moduledeps, store

VMLINUX = image.ELF + bytes(28) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 1) + bytes(6)
VMLINUX += bytes(16) + struct.pack("<Q", 0xFFFFFFFF81000000) + bytes(32) + b"Linux version 6.18.0-mine (me@here) #1"
UML = VMLINUX.replace(struct.pack("<Q", 0xFFFFFFFF81000000), struct.pack("<Q", 0x60000000))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "installed", list)
    return tmp_path / "cache/kernels"


def fetched(root: Path, release: str, version: str, flavour: str = "amd64") -> Path:
    folder = root / f"{release}_{version}"
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(VMLINUX)
    record = {"version": 1, "release": release, "flavour": flavour, "image": "vmlinuz", "modules": None, "suite": "x"}
    (folder / "kernel.json").write_text(json.dumps({**record, "package_version": version}))
    return folder


def test_a_series_is_its_newest_release(root: Path) -> None:
    fetched(root, "6.1.0-9-amd64", "6.1.99-1")
    newest = fetched(root, "6.1.0-56-amd64", "6.1.192-2")
    fetched(root, "6.12.9-amd64", "6.12.9-1")
    found = kernels.find("6.1")
    assert (found.name, found.release, found.image) == ("6.1", "6.1.0-56-amd64", newest / "vmlinuz")
    assert kernels.find("6.1.0-9-amd64").release == "6.1.0-9-amd64"
    assert kernels.find("latest").release == "6.12.9-amd64"


def test_what_is_not_here_is_named_with_the_command_and_with_what_is(root: Path) -> None:
    fetched(root, "6.1.0-56-amd64", "6.1.192-2")
    with pytest.raises(HostError) as refused:
        kernels.find("cloud-6.1")
    assert str(refused.value) == "no kernel cloud-6.1 was fetched (there: 6.1.0-56-amd64)\n    lab kernels fetch cloud-6.1"


def test_a_record_that_cannot_be_read_is_no_kernel(root: Path) -> None:
    (fetched(root, "6.1.0-56-amd64", "6.1.192-2") / "kernel.json").write_text("{")
    assert store.fetched() == []


def test_of_a_series_all_are_removed_and_of_latest_the_newest(root: Path) -> None:
    for release, version in (("6.1.0-9-amd64", "6.1.99-1"), ("6.1.0-56-amd64", "6.1.192-2"), ("6.12.9-amd64", "6.12.9-1")):
        fetched(root, release, version)
    assert [each.kernel.release for each in store.remove("latest")] == ["6.12.9-amd64"]
    assert [each.kernel.release for each in store.remove("6.1")] == ["6.1.0-56-amd64", "6.1.0-9-amd64"]
    assert list(root.iterdir()) == []
    with pytest.raises(HostError, match=r"no kernel 6\.1 was fetched"):
        store.remove("6.1")


# -- files and trees


@pytest.mark.parametrize(("content", "flavour"), [(VMLINUX, "file"), (UML, "uml")])
def test_a_file_is_a_kernel_of_its_own_release(content: bytes, flavour: str, tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(content)
    found = kernels.find(str(tmp_path / "vmlinux"))
    assert (found.release, found.flavour, found.modules) == ("6.18.0-mine", flavour, None)


def test_what_is_no_kernel_and_what_is_not_there_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(HostError, match="text is no kernel: it is neither"):
        kernels.find(str(tmp_path / "text"))
    with pytest.raises(TopologyError, match="there is no "):
        kernels.find(str(tmp_path / "no"))
    with pytest.raises(HostError, match="no kernel was built in"):
        kernels.find(f"{tmp_path}/")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "linux"
    for path in ("include/config", "arch/x86/boot", "net/8021q"):
        (tree / path).mkdir(parents=True)
    (tree / "include/config/kernel.release").write_text("6.18.0-mine\n")
    (tree / "arch/x86/boot/bzImage").write_bytes(VMLINUX)
    (tree / "net/8021q/8021q.ko").write_bytes(image.ELF)
    (tree / "modules.order").write_text("net/8021q/8021q.o\n")
    (tree / "modules.builtin").write_text("kernel/drivers/net/veth.ko\n")
    return tree


def test_a_tree_has_its_image_and_its_modules(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path, str]] = []
    monkeypatch.setattr(files, "depmod", lambda base, release: ran.append((base, release)))
    found = kernels.find(str(tree))
    assert (found.release, found.flavour, found.image) == ("6.18.0-mine", "file", tree / "arch/x86/boot/bzImage")
    assert found.modules is not None
    assert (found.modules / "kernel/net/8021q/8021q.ko").resolve() == tree / "net/8021q/8021q.ko"
    assert kernels.find(str(tree / "arch/x86/boot/bzImage")).modules == found.modules
    assert [release for _, release in ran] == ["6.18.0-mine"]


def test_modules_of_a_file_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").write_bytes(VMLINUX)
    modules = tmp_path / "lib/modules/6.18.0-mine"
    modules.mkdir(parents=True)
    (modules / "modules.dep").touch()
    assert kernels.find(str(tmp_path / "boot/vmlinuz")).modules == modules


# -- what a machine is started with


def test_a_module_that_the_kernel_lacks_is_named(root: Path, tmp_path: Path) -> None:
    (root / "tools").mkdir(parents=True)
    (root / "tools/busybox").write_bytes(b"\x7fELF")
    (tmp_path / "modules.dep").write_text("kernel/9p.ko:\n")
    (tmp_path / "vmlinuz").write_bytes(VMLINUX)
    kernel = kernels.Kernel("x", "6.18.0-mine", "file", tmp_path / "vmlinuz", tmp_path, tmp_path / "derived")
    with pytest.raises(HostError, match=r"kernel 6\.18\.0-mine has no module virtiofs"):
        boot.bootable(kernel, ["9p", "virtiofs"], {})


def test_what_was_made_is_made_anew_when_the_image_or_the_init_is_another(root: Path, tmp_path: Path) -> None:
    (root / "tools").mkdir(parents=True)
    (root / "tools/busybox").write_bytes(b"\x7fELF")
    (tmp_path / "vmlinuz").write_bytes(VMLINUX)
    kernel = kernels.Kernel("x", "6.18.0-mine", "file", tmp_path / "vmlinuz", None, tmp_path / "derived")
    first = boot.bootable(kernel, [], {"/init": b"1"})
    assert boot.bootable(kernel, [], {"/init": b"1"}) == first
    assert boot.bootable(kernel, [], {"/init": b"2"}).initrd != first.initrd
    (tmp_path / "vmlinuz").write_bytes(VMLINUX + b"more")
    again = boot.bootable(kernel, [], {"/init": b"1"})
    assert (again.elf != first.elf, first.elf.exists(), again.initrd) == (True, False, first.initrd)


def test_without_busybox_it_says_how_it_comes(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(VMLINUX)
    kernel = kernels.Kernel("6.1", "6.1.0-56-amd64", "amd64", tmp_path / "vmlinuz", None, tmp_path / "derived")
    with pytest.raises(HostError, match=r"lab kernels fetch 6\.1"):
        boot.bootable(kernel, [], {})


def test_names_of_modules_are_read_with_either_dash() -> None:
    assert moduledeps.name_of("kernel/net/sched/sch-netem.ko.xz") == "sch_netem"
