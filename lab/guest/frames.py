"""Frames: what passes between the host and the agent in a guest, over one stream of bytes. Pure.

    kind 1 byte | job 4 bytes | length 4 bytes, big-endian | payload

    agent -> host   READY about the guest   STDOUT STDERR bytes   FILE one written result   EXIT how the job ended   PONG
    host -> agent   JOB what to run         STDIN bytes, none at its end    SIGNAL a number   RESIZE rows, columns   PING
    keeper -> caller  FAILED why the guest has ended
    both            CREDIT: so many bytes of a stream were taken, so many more may come

A stream of a job has at most WINDOW bytes on their way (towards a guest NARROW), so that one that nobody reads holds up
neither signals nor the others. A guest is not trusted: what cannot be a frame is a ValueError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

WINDOW = 256 * 1024  # bytes
NARROW = 16 * 1024
"""The same towards a guest."""
LINE = 2048
"""Bytes of frames on their way to an agent that reads a tty; it gives credit for them as job 0. Once a tty of User-mode Linux
was throttled, which begins at some 4000 bytes, nothing wakes it any more (arch/um/drivers/line.c, line_throttle)."""
UNLIMITED = 1 << 62
LONGEST = 1024 * 1024  # bytes of one payload
CHUNK = 32 * 1024  # bytes; what drivers/char/virtio_console.c takes at once
_HEADER = struct.Struct(">BII")
_CREDIT = struct.Struct(">BI")
_SIZE = struct.Struct(">HH")
_NUMBER = struct.Struct(">I")


class Kind(IntEnum):
    READY = 1
    JOB = 2
    STDIN = 3
    STDOUT = 4
    STDERR = 5
    RESIZE = 6
    SIGNAL = 7
    CREDIT = 8
    FILE = 9
    EXIT = 10
    PING = 11
    PONG = 12
    FAILED = 13


@dataclass(frozen=True, slots=True)
class Frame:
    """`job` is 0 for what concerns the guest as a whole."""

    kind: Kind
    job: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        return _HEADER.pack(self.kind, self.job, len(self.payload)) + self.payload

    def json(self) -> dict[str, Any]:
        """Raises ValueError where the payload is no JSON object."""
        found = json.loads(self.payload)
        if not isinstance(found, dict):
            raise ValueError(f"{self.kind.name}: not an object")
        return found

    def number(self) -> int:
        """Of SIGNAL. Raises ValueError."""
        return _unpacked(_NUMBER, self.payload)[0]

    def size(self) -> tuple[int, int]:
        """Of RESIZE: rows and columns. Raises ValueError."""
        rows, columns = _unpacked(_SIZE, self.payload)
        return rows, columns

    def credit(self) -> tuple[Kind, int]:
        """Of CREDIT: which stream, how many bytes. Raises ValueError."""
        stream, taken = _unpacked(_CREDIT, self.payload)
        return Kind(stream), taken

    def file(self) -> tuple[dict[str, Any], bytes]:
        """Of FILE: what is said of it, and a part of what is in it. Raises ValueError."""
        head, line, data = self.payload.partition(b"\n")
        if not line:
            raise ValueError("FILE: no end of its head")
        return Frame(self.kind, self.job, head).json(), data


def _unpacked(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    try:
        return layout.unpack(payload)
    except struct.error as error:
        raise ValueError(str(error)) from error


def of_json(kind: Kind, job: int, said: Mapping[str, Any]) -> Frame:
    return Frame(kind, job, json.dumps(said).encode())


def signal_frame(job: int, number: int) -> Frame:
    return Frame(Kind.SIGNAL, job, _NUMBER.pack(number))


def resize_frame(job: int, rows: int, columns: int) -> Frame:
    return Frame(Kind.RESIZE, job, _SIZE.pack(rows, columns))


def credit_frame(job: int, stream: Kind, taken: int) -> Frame:
    return Frame(Kind.CREDIT, job, _CREDIT.pack(stream, taken))


def file_frame(job: int, about: Mapping[str, Any], data: bytes) -> Frame:
    return Frame(Kind.FILE, job, json.dumps(about).encode() + b"\n" + data)


@dataclass(slots=True)
class Decoder:
    """Bytes as they come -> whole frames."""

    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Raises ValueError for what is no frame."""
        self._rest += data
        while len(self._rest) >= _HEADER.size:
            kind, job, length = _HEADER.unpack_from(self._rest)
            if length > LONGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._rest) < end:
                return
            payload = bytes(self._rest[_HEADER.size : end])
            del self._rest[:end]
            yield Frame(Kind(kind), job, payload)


@dataclass(slots=True)
class Window:
    """How many bytes of one stream may still be sent, and how many were taken and not yet told."""

    size: int = WINDOW
    taken: int = 0
    open: int = field(init=False)

    def __post_init__(self) -> None:
        self.open = self.size

    def sent(self, number: int) -> None:
        self.open -= number

    def credited(self, number: int) -> None:
        """Raises ValueError where more is given back than was sent."""
        if self.open + number > self.size:
            raise ValueError("more credit than a window has")
        self.open += number

    def take(self, number: int) -> int:
        """Counts bytes that were taken; what is now to be told: nothing until it is worth a frame."""
        self.taken += number
        if self.taken < self.size // 4:
            return 0
        told, self.taken = self.taken, 0
        return told
