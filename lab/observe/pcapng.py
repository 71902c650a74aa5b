"""A capture file that Wireshark and tcpdump open: pcapng, one section, every interface by the name NODE:DEVICE.

https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html, sections 4.1 to 4.3; times in nanoseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from lab import __version__
from lab.observe.capture import Frame, Interface

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_ORDER, _ETHERNET, _ANY_LENGTH = 0x1A2B3C4D, 1, 0xFFFFFFFFFFFFFFFF
_END, _IF_NAME, _IF_TSRESOL, _SHB_USERAPPL, _EPB_FLAGS = 0, 2, 9, 4, 2
_NANOSECONDS = b"\x09"
_INBOUND, _OUTBOUND = 1, 2


class Writer:
    """Writes the heads at once and each frame as it comes; a file that is cut off anywhere is whole up to there."""

    def __init__(self, file: BinaryIO, interfaces: Sequence[Interface]) -> None:
        self._file, self._numbers = file, {interface: at for at, interface in enumerate(interfaces)}
        head = struct.pack("=IHHQ", _ORDER, 1, 0, _ANY_LENGTH)
        file.write(_block(_SECTION, head + _options([(_SHB_USERAPPL, f"lab {__version__}".encode())])))
        for interface in interfaces:
            named = [(_IF_NAME, str(interface).encode()), (_IF_TSRESOL, _NANOSECONDS)]
            file.write(_block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + _options(named)))
        file.flush()

    def write(self, frame: Frame) -> None:
        high, low = divmod(frame.time, 1 << 32)
        head = struct.pack("=IIIII", self._numbers[frame.interface], high, low, len(frame.data), frame.length)
        flags = struct.pack("=I", _OUTBOUND if frame.sent else _INBOUND)
        self._file.write(_block(_PACKET, head + _padded(frame.data) + _options([(_EPB_FLAGS, flags)])))
        self._file.flush()


def write(file: BinaryIO, interfaces: Sequence[Interface], frames: Iterable[Frame]) -> None:
    """A whole file at once."""
    writer = Writer(file, interfaces)
    for frame in frames:
        writer.write(frame)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    told = (struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options)
    return b"".join(told) + struct.pack("=HH", _END, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
