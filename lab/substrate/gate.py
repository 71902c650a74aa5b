"""The gate of a container: the program that Docker starts instead of the container's command, until the links are there.

    gate FIFO PLACE… '' ARGV…      opens FIFO for reading, which waits for who opens it for writing; then becomes ARGV

Each PLACE is tried in turn, as a search along the PATH would: which they are is decided here, for the gate reads no
environment. It is a static executable of a few hundred bytes and needs nothing of its image, neither a shell nor a libc, so
that any image will do; user, directory, environment, capabilities and limits are those that Docker gave it, and so the
command's. What cannot be executed ends with 126 or 127, as Docker has it, and with 125 where the FIFO cannot be opened.
"""

from __future__ import annotations

import platform
import posixpath
import struct
from collections.abc import Mapping, Sequence

FAILED = b"lab: the command cannot be executed\n"

# Machine code, an instruction a line. Registers of x86-64: rbx argv, then ARGV; r12 the next PLACE; r13 the status; r14 envp.
_X86_64 = """
488b0424        mov    rax, [rsp]               ; argc
488d5c2408      lea    rbx, [rsp+8]             ; argv
4c8d74c308      lea    r14, [rbx+8*rax+8]       ; envp
41bd7d000000    mov    r13d, 125
488b7b08        mov    rdi, [rbx+8]             ; FIFO
be00000800      mov    esi, 0x80000             ; O_RDONLY | O_CLOEXEC
b802000000      mov    eax, 2                   ; open
0f05            syscall
85c0            test   eax, eax
7840            js     failed
4c8d6310        lea    r12, [rbx+16]
4c89e3          mov    rbx, r12
488b03          mov    rax, [rbx]               ; until behind the empty word
4883c308        add    rbx, 8
803800          cmp    byte [rax], 0
75f4            jne    .-10
41bd7f000000    mov    r13d, 127
498b3c24        mov    rdi, [r12]               ; next PLACE
4983c408        add    r12, 8
803f00          cmp    byte [rdi], 0
741a            je     failed
4889de          mov    rsi, rbx
4c89f2          mov    rdx, r14
b83b000000      mov    eax, 59                  ; execve
0f05            syscall
83f8f3          cmp    eax, -13                 ; EACCES
75e1            jne    next PLACE
41bd7e000000    mov    r13d, 126
ebd9            jmp    next PLACE
bf02000000      mov    edi, 2                   ; failed
488d3516000000  lea    rsi, [rip+22]
ba24000000      mov    edx, 36
b801000000      mov    eax, 1                   ; write
0f05            syscall
4489ef          mov    edi, r13d
b83c000000      mov    eax, 60                  ; exit
0f05            syscall
"""
# Registers of AArch64: x20 argv, then the next PLACE; x21 envp; x22 ARGV; w24 the status. Words are little-endian.
_AARCH64 = """
f94003f3        ldr    x19, [sp]                ; argc
910023f4        add    x20, sp, #8              ; argv
8b130e95        add    x21, x20, x19, lsl #3
910022b5        add    x21, x21, #8             ; envp
52800fb8        mov    w24, #125
92800c60        mov    x0, #-100                ; AT_FDCWD
f9400681        ldr    x1, [x20, #8]            ; FIFO
d2a00102        mov    x2, #0x80000             ; O_RDONLY | O_CLOEXEC
d2800708        mov    x8, #56                  ; openat
d4000001        svc    #0
37f80240        tbnz   w0, #31, failed
91004294        add    x20, x20, #16
aa1403f6        mov    x22, x20
f84086c0        ldr    x0, [x22], #8            ; until behind the empty word
39400001        ldrb   w1, [x0]
35ffffc1        cbnz   w1, .-8
52800ff8        mov    w24, #127
f8408680        ldr    x0, [x20], #8            ; next PLACE
39400001        ldrb   w1, [x0]
34000121        cbz    w1, failed
aa1603e1        mov    x1, x22
aa1503e2        mov    x2, x21
d2801ba8        mov    x8, #221                 ; execve
d4000001        svc    #0
3100341f        cmn    w0, #13                  ; EACCES
54ffff01        b.ne   next PLACE
52800fd8        mov    w24, #126
17fffff6        b      next PLACE
d2800040        mov    x0, #2                   ; failed
100000e1        adr    x1, .+28
d2800482        mov    x2, #36
d2800808        mov    x8, #64                  ; write
d4000001        svc    #0
2a1803e0        mov    w0, w24
d2800ba8        mov    x8, #93                  ; exit
d4000001        svc    #0
"""

# elf(5): the numbers of a machine, and of what runs at once, readable and executable, on pages of any size up to 64 KiB.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_LOADED_AT, _PAGE = 0x400000, 0x10000
_HEADER = struct.Struct("<4sBBBBB7xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ET_EXEC, _PT_LOAD, _READ_EXECUTE = 2, 1, 5


def made_for(machine: str = "") -> bytes:
    """The whole executable, for this machine or another of uname(1)'s names. Raises KeyError where none is known for it."""
    machine = machine or platform.machine()
    number = _MACHINES[machine]
    code = _code(machine) + FAILED
    start = _HEADER.size + _SEGMENT.size
    ident = b"\x7fELF", 2, 1, 1, 0, 0  # 64 bits, little-endian
    tables = _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0
    header = _HEADER.pack(*ident, _ET_EXEC, number, 1, _LOADED_AT + start, *tables)
    size = start + len(code)
    segment = _SEGMENT.pack(_PT_LOAD, _READ_EXECUTE, 0, _LOADED_AT, _LOADED_AT, size, size, _PAGE)
    return header + segment + code


def _code(machine: str) -> bytes:
    if machine == "x86_64":
        return b"".join(bytes.fromhex(line.split()[0]) for line in _X86_64.strip().splitlines())
    return b"".join(bytes.fromhex(line.split()[0])[::-1] for line in _AARCH64.strip().splitlines())


def words(fifo: str, argv: Sequence[str], environment: Mapping[str, str], otherwise: str) -> list[str]:
    """What the gate is given to become `argv`; `otherwise` is the PATH where the environment has none."""
    program = argv[0]
    path = environment.get("PATH", otherwise)
    places = [program] if "/" in program else [posixpath.join(folder or ".", program) for folder in path.split(":")]
    return [fifo, *places, "", *argv]
