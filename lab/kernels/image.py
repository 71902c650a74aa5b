"""A kernel's file read: a bzImage's header, its release, and the ELF executable packed in it. Pure, but for libraries.

The layout is Documentation/arch/x86/boot.rst's: offsets below are from the beginning of the file, `payload_offset` counts from
the end of the real-mode code, and of every packing but gzip the last four bytes of the payload are the unpacked length.
"""

from __future__ import annotations

import ctypes
import lzma
import re
import struct
import zlib
from typing import Any

ELF = b"\x7fELF"
_SETUP_SECTORS, _MAGIC, _VERSION, _RELEASE = 0x1F1, 0x202, 0x206, 0x20E
_PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 0x248, 0x24C
_SECTOR = 512
_WITH_PAYLOAD = 0x0208  # the first version of the protocol that says where it is
_LZ4_BLOCK = 8 << 20  # bytes, of the legacy format
_UNKNOWN_SIZE = (2**64 - 1, 2**64 - 2)  # ZSTD_CONTENTSIZE_UNKNOWN, _ERROR


class ImageError(ValueError):
    """The file is no kernel, or one whose packing is not known; says why."""


def is_bzimage(content: bytes) -> bool:
    return content[_MAGIC : _MAGIC + 4] == b"HdrS"


def release(content: bytes) -> str:
    """What `uname -r` says in it: from a bzImage's header, or from the banner in an ELF executable. Raises ImageError."""
    if is_bzimage(content):
        (offset,) = struct.unpack_from("<H", content, _RELEASE)
        text = content[_SECTOR + offset :][:128].split(b"\0")[0]
        return text.decode("ascii", "replace").split(" ")[0]
    if found := re.search(rb"Linux version (\d+\.\d+[!-~]*) ", content):
        return found[1].decode("ascii")
    raise ImageError("it is neither a bzImage nor an ELF executable with Linux's banner")


def elf(content: bytes) -> bytes:
    """The ELF executable of a kernel; of one that is an ELF executable already that one. Raises ImageError."""
    if content.startswith(ELF):
        return content
    unpacked = unpack(_payload(content))
    if not unpacked.startswith(ELF):
        raise ImageError("what is packed in it is no ELF executable")
    return unpacked


def _payload(content: bytes) -> bytes:
    if not is_bzimage(content):
        raise ImageError("it is no bzImage")
    (version,) = struct.unpack_from("<H", content, _VERSION)
    if version < _WITH_PAYLOAD:
        raise ImageError("its boot protocol is older than 2.08")
    offset, length = struct.unpack_from("<II", content, _PAYLOAD_OFFSET)
    start = ((content[_SETUP_SECTORS] or 4) + 1) * _SECTOR + offset
    payload = content[start : start + length]
    if len(payload) < length:
        raise ImageError(f"it is cut off: its payload ends at byte {start + length}, the file at {len(content)}")
    return payload


def unpack(packed: bytes) -> bytes:
    """By the first bytes: gzip, xz, zstd or lz4 (legacy); what is not packed stays as it is. Raises ImageError."""
    try:
        if packed.startswith(b"\x1f\x8b"):
            return _whole(zlib.decompressobj(wbits=31), packed)
        if packed.startswith(b"\xfd7zXZ\0"):
            return _whole(lzma.LZMADecompressor(), packed)
        if packed.startswith(b"\x28\xb5\x2f\xfd"):
            return _zstd(packed)
        if packed.startswith(b"\x02\x21\x4c\x18"):
            return b"".join(_lz4(packed))
    except (zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"what is packed in it is damaged: {error}") from error
    if packed.startswith(ELF):
        return packed
    raise ImageError("it is packed in a way that is not known: neither gzip, xz, zstd nor lz4")


def _whole(decompressor: Any, packed: bytes) -> bytes:
    """What lies behind the end of the packed stream is left alone."""
    unpacked: bytes = decompressor.decompress(packed)
    if not decompressor.eof:
        raise ImageError("what is packed in it is damaged: it ends too early")
    return unpacked


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise ImageError(f"it is packed, and this host has no {name}, which apt needs as well") from error


def _zstd(packed: bytes) -> bytes:
    """Python has it from 3.14 on. A kernel's payload has its length once more behind the frame."""
    library = _library("libzstd.so.1")
    for name in ("ZSTD_getFrameContentSize", "ZSTD_findFrameCompressedSize", "ZSTD_decompress"):
        getattr(library, name).restype = ctypes.c_size_t
    library.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    frame = library.ZSTD_findFrameCompressedSize(packed, ctypes.c_size_t(len(packed)))
    if library.ZSTD_isError(ctypes.c_size_t(frame)):
        raise ImageError("what is packed in it is damaged: zstd finds no whole frame")
    size = library.ZSTD_getFrameContentSize(packed, ctypes.c_size_t(len(packed)))
    if size in _UNKNOWN_SIZE:
        (size,) = struct.unpack("<I", packed[-4:])
    room = ctypes.create_string_buffer(size)
    done = library.ZSTD_decompress(room, ctypes.c_size_t(size), packed, ctypes.c_size_t(frame))
    if done != size:
        raise ImageError("what is packed in it is damaged: zstd cannot unpack it")
    return room.raw


def _lz4(packed: bytes) -> list[bytes]:
    library = _library("liblz4.so.1")
    blocks, at = [], 4
    room = ctypes.create_string_buffer(_LZ4_BLOCK)
    while at + 4 < len(packed):
        (length,) = struct.unpack_from("<I", packed, at)
        block = packed[at + 4 : at + 4 + length]
        done = library.LZ4_decompress_safe(block, room, len(block), _LZ4_BLOCK)
        if done < 0 or len(block) < length:
            raise ImageError("what is packed in it is damaged: lz4 cannot unpack it")
        blocks.append(room.raw[:done])
        at += 4 + length
    return blocks
