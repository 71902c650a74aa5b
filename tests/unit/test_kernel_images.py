"""A bzImage unpacked, an archive for its start written, modules in their order: pure stages of `lab.kernels`."""

from __future__ import annotations

import ctypes
import gzip
import lzma
import struct
from collections.abc import Callable

import pytest

from lab.kernels import cpio, image, moduledeps
from lab.kernels.image import ImageError

KERNEL = image.ELF + b"\x02\x01" + bytes(range(256)) * 300 + b"Linux version 6.1.0-41-amd64 (debian) #1 SMP"
SETUP_SECTORS = 3


def bzimage(payload: bytes, release: str = "6.1.0-41-amd64", protocol: int = 0x020F) -> bytes:
    """As arch/x86/boot/tools/build.c lays one out."""
    head = bytearray((SETUP_SECTORS + 1) * 512)
    head[0x1F1] = SETUP_SECTORS
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, protocol)
    struct.pack_into("<H", head, 0x20E, 0x300)
    text = f"{release} (debian-kernel@lists.debian.org) #1 SMP".encode() + b"\0"
    head[0x500 : 0x500 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload + b"the rest of the protected-mode code"


def with_length(packed: bytes) -> bytes:
    return packed + struct.pack("<I", len(KERNEL))


def by_zstd(content: bytes) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(len(content) + 1024)
    size = library.ZSTD_compress(room, ctypes.c_size_t(len(room)), content, ctypes.c_size_t(len(content)), 3)
    return room.raw[:size]


def by_lz4(content: bytes) -> bytes:
    """The legacy format, in blocks of 8 MiB."""
    library = ctypes.CDLL("liblz4.so.1")
    room = ctypes.create_string_buffer(len(content) + 1024)
    size = library.LZ4_compress_default(content, room, len(content), len(room))
    return b"\x02\x21\x4c\x18" + struct.pack("<I", size) + room.raw[:size]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lambda content: with_length(lzma.compress(content, check=lzma.CHECK_CRC32)),
    "zstd": lambda content: with_length(by_zstd(content)),
    "lz4": lambda content: with_length(by_lz4(content)),
    "none": lambda content: content,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_elf_is_found_in_a_bzimage(packing: str) -> None:
    assert image.elf(bzimage(PACKINGS[packing](KERNEL))) == KERNEL


def test_what_is_an_elf_already_stays() -> None:
    assert image.elf(KERNEL) == KERNEL


def test_a_kernel_says_its_release() -> None:
    assert image.release(bzimage(b"", release="6.12.57+deb13-amd64")) == "6.12.57+deb13-amd64"
    assert image.release(KERNEL) == "6.1.0-41-amd64"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"#!/bin/sh\n", "no bzImage"),
        (bzimage(b"BZh9"), "neither gzip, xz, zstd nor lz4"),
        (bzimage(gzip.compress(b"no kernel")), "no ELF"),
        (bzimage(gzip.compress(KERNEL)[:200].ljust(300, b"x")), "damaged"),
        (bzimage(b"\xfd7zXZ\0damaged"), "damaged"),
        (bzimage(by_zstd(KERNEL)[:80]), "damaged"),
        (bzimage(by_lz4(KERNEL)[:80]), "damaged"),
        (bzimage(gzip.compress(KERNEL))[:2100], "cut off"),
        (bzimage(gzip.compress(KERNEL), protocol=0x0206), "older than 2.08"),
    ],
)
def test_what_is_no_kernel_is_refused_with_the_reason(content: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        image.elf(content)


def test_a_file_without_a_release_is_no_kernel() -> None:
    with pytest.raises(ImageError, match="neither a bzImage nor"):
        image.release(image.ELF + bytes(100))


# -- cpio


def test_an_archive_by_the_book() -> None:
    """Documentation/driver-api/early-userspace/buffer-format.rst: headers and contents begin at multiples of four."""
    archive = cpio.archive([cpio.file("a", b"12345"), cpio.character("dev/null", 1, 3, 0o666)])
    found, at = {}, 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) & ~3
        found[name] = (oct(fields[1]), archive[start : start + fields[6]], tuple(fields[9:11]))
        at = (start + fields[6] + 3) & ~3
    assert found == {
        "a": ("0o100644", b"12345", (0, 0)),
        "dev": ("0o40755", b"", (0, 0)),
        "dev/null": ("0o20666", b"", (1, 3)),
        "TRAILER!!!": ("0o0", b"", (0, 0)),
    }


def test_the_same_entries_give_the_same_bytes() -> None:
    assert cpio.archive([cpio.file("a/b", b"x")]) == cpio.archive([cpio.file("a/b", b"x")])


# -- modules

DEP = """\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/fscache/fscache.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/fscache/fscache.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
"""


def test_modules_come_behind_those_that_they_need() -> None:
    modules = moduledeps.read(DEP, "kernel/fs/overlayfs/overlay.ko\n")
    order = [moduledeps.name_of(path) for path in modules.closure(["9p", "overlay", "9pnet-virtio"])]
    assert order == ["netfs", "fscache", "9pnet", "9p", "9pnet_virtio"]


def test_a_module_that_there_is_not_is_named() -> None:
    with pytest.raises(KeyError, match="nosuch"):
        moduledeps.read(DEP, "").closure(["nosuch"])
