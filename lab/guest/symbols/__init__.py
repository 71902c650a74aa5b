"""What gdb needs to know of a guest's kernel: a file with its symbols, and what is in it.

    kernel with DWARF ────────────────────────────────────────────> Symbols
    kernel ── elf ──> types (BTF), code ──┬── dwarf ── elf ──> file ──^
    /proc/kallsyms of it ── kallsyms ─────┘

Debian's packages of debugging symbols take a gigabyte a kernel, and its System.map is empty: so the file is made of what the
kernel says of itself, once. `kallsyms`, `dwarf` and `elf` are pure.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import HostError
from lab.guest.symbols import dwarf, elf, kallsyms
from lab.kernels import Kernel, cache
from lab.substrate.btf import Types

_FORMAT = 1
_LINES, _TYPES = ".debug_info", ".BTF"


@dataclass(frozen=True, slots=True)
class Symbols:
    """`words`: what is in the file, as the user is told."""

    file: Path
    words: str


def find(kernel: Kernel, image: Path, names: Callable[[], str]) -> Symbols:
    """Of a kernel whose ELF file is `image`. `names` gives what /proc/kallsyms says in it, and is asked once for a kernel.

    Raises HostError where the kernel does not tell its symbols."""
    for path in _built(kernel):
        if path.is_file() and _has_lines(path):
            return Symbols(path, "names, types, lines and variables")
    path = kernel.cache / f"symbols-{image.name.removeprefix('vmlinux-')}-{_FORMAT}"
    if not path.exists():
        content = _made(kernel, image.read_bytes(), names())
        for old in kernel.cache.glob("symbols-*"):
            old.unlink(missing_ok=True)
        cache.keep(path, content)
    return Symbols(path, "names of functions and variables, types, and arguments of functions where they begin; no lines")


def _built(kernel: Kernel) -> tuple[Path, ...]:
    """Where the file lies that a kernel was linked into: in its tree, or where Debian's package of debugging symbols has it."""
    debug = Path("/usr/lib/debug")
    tree = [above / "vmlinux" for above in kernel.image.parents if (above / "include/config/kernel.release").exists()]
    release = kernel.release
    return (kernel.image, *tree, debug / f"boot/vmlinux-{release}", debug / f"lib/modules/{release}/vmlinux")


def _has_lines(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        try:
            return any(section.name == _LINES for section in elf.sections(content))
        except ValueError:
            return False


def _made(kernel: Kernel, content: bytes, told: str) -> bytes:
    sections = elf.sections(content)
    symbols = kallsyms.read(told)
    if not symbols:
        hint = "one with CONFIG_KALLSYMS_ALL, or its build tree with vmlinux and CONFIG_DEBUG_INFO"
        raise HostError(f"kernel {kernel.release} does not tell its symbols in /proc/kallsyms", f"debug another kernel: {hint}")
    types = elf.named(content, _TYPES)
    functions = kallsyms.functions(symbols, lambda address: elf.at(content, sections, address))
    memory = [each for each in sections if each.in_memory and each.size]
    return elf.file(memory, symbols, dwarf.sections(Types(types), functions) if types else {})
