"""BPF programs, made of instructions and loaded by bpf(2): no compiler, no library, and nothing in the file
system. All of it is gone when its descriptors are closed, however the process ends.

See bpf(2), include/uapi/linux/bpf.h and Documentation/bpf/standardization/instruction-set.rst. Every call raises OSError: EPERM
without CAP_BPF and CAP_PERFMON in the first user namespace, EINVAL where this kernel has none of it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

MAP_HASH, MAP_ARRAY, MAP_RINGBUF = 1, 2, 27
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 0, 1, 2, 3, 5, 17, 28
RAW_TRACEPOINT, CGROUP_SOCK_ADDR = 17, 18  # enum bpf_prog_type
_LICENSE = b"GPL\0"
"""What helpers that read the kernel's memory ask of a program."""
_LOG_SIZE = 1 << 16
_NUMBERS = {"x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "s390x": 351}
_NUMBER = _NUMBERS.get(platform.machine(), 280)
"""Of bpf(2); architectures that came later share one table (include/uapi/asm-generic/unistd.h)."""

_libc = ctypes.CDLL(None, use_errno=True)


def new_map(kind: int, key: int, value: int, entries: int) -> int:
    """A descriptor of it; `key` and `value` are sizes in bytes."""
    return _bpf(_MAP_CREATE, struct.pack("=IIIIIII16s", kind, key, value, entries, 0, 0, 0, b"lab"))


def put(where: int, key: bytes, value: bytes) -> None:
    """E2BIG where the map is full."""
    held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_UPDATE, struct.pack("=IxxxxQQQ", where, *map(ctypes.addressof, held), 0))


def remove(where: int, key: bytes) -> None:
    """ENOENT where it is not there."""
    held = ctypes.create_string_buffer(key, len(key))
    _bpf(_DELETE, struct.pack("=IxxxxQQQ", where, ctypes.addressof(held), 0, 0))


def get(where: int, key: bytes, size: int) -> bytes:
    """The value, of so many bytes."""
    held, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    _bpf(_LOOKUP, struct.pack("=IxxxxQQQ", where, ctypes.addressof(held), ctypes.addressof(value), 0))
    return value.raw


def load(instructions: Sequence[bytes], kind: int = RAW_TRACEPOINT, hook: int = 0) -> int:
    """A descriptor of a program; `hook` is the enum bpf_attach_type of a kind that has several. EINVAL and EACCES come with
    what the kernel's verifier says of it."""
    code, log = b"".join(instructions), ctypes.create_string_buffer(_LOG_SIZE)
    held = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(_LICENSE)
    code_at, license_at, log_at = map(ctypes.addressof, (*held, log))
    head = (kind, len(instructions), code_at, license_at)
    attributes = struct.pack("=IIQQIIQII16sII", *head, 1, _LOG_SIZE, log_at, 0, 0, b"lab", 0, hook)
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        said = log.value.decode(errors="replace").strip().splitlines()[-3:]
        raise OSError(error.errno, "; ".join([error.strerror or "", *said])) from None


def attach(tracepoint: str, program: int) -> int:
    """A descriptor: the program is called at the tracepoint until this is closed."""
    name = ctypes.create_string_buffer(tracepoint.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QIxxxx", ctypes.addressof(name), program))


def attach_to_cgroup(cgroup: int, program: int, hook: int) -> int:
    """A descriptor: the program is asked for what happens to sockets of the control group until this is closed."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program, cgroup, hook, 0))


def _bpf(command: int, attributes: bytes) -> int:
    held = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(ctypes.c_long(_NUMBER), ctypes.c_long(command), held, ctypes.c_ulong(len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# -- instructions: R0 is what a helper returns, R1 to R5 its arguments, R6 to R9 outlive it, R10 is the end of the stack

R0, R1, R2, R3, R6, R7, R8, R9, R10 = 0, 1, 2, 3, 6, 7, 8, 9, 10
LOOKUP, KTIME, READ_KERNEL, RESERVE, SUBMIT = 1, 5, 113, 131, 132
"""Helpers: bpf_map_lookup_elem, bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_ringbuf_reserve, bpf_ringbuf_submit."""
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
_LOADS, _STORES = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}, {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn."""
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def set_to(to: int, value: int) -> bytes:
    return instruction(0xB7, to, value=value)


def copy(to: int, source: int) -> bytes:
    return instruction(0xBF, to, source)


def add(to: int, value: int) -> bytes:
    return instruction(0x07, to, value=value)


def add_register(to: int, source: int) -> bytes:
    return instruction(0x0F, to, source)


def loaded(to: int, source: int, offset: int, size: int) -> bytes:
    """`to` = the `size` bytes at `source` + `offset`."""
    return instruction(_LOADS[size], to, source, offset)


def stored(to: int, offset: int, source: int, size: int) -> bytes:
    return instruction(_STORES[size], to, source, offset)


def zeroed(to: int, offset: int) -> bytes:
    """Eight bytes."""
    return instruction(0x7A, to, offset=offset)


def counted(to: int, offset: int, source: int) -> bytes:
    """Adds to eight bytes in one step."""
    return instruction(0xDB, to, source, offset)


def call(helper: int) -> bytes:
    return instruction(0x85, value=helper)


def address_of_map(to: int, descriptor: int) -> list[bytes]:
    return [instruction(0x18, to, 1, value=descriptor), instruction(0)]


def over_if(register: int, value: int, parts: Sequence[bytes], equal: bool = True) -> list[bytes]:
    """`parts`, jumped over where the register has this value, or with `equal` false where it has not."""
    return [instruction(0x15 if equal else 0x55, register, offset=len(parts), value=value), *parts]
