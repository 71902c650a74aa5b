"""`lab --kernel X debug`: gdb holds the kernel of an experiment, reads in it, and lets it run on."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.btf import FUNC, FUNC_PROTO, made
from support.commands import LAB, lab
from support.guests import BOOTED, descendants, until_gone

from lab.guest.symbols import dwarf, elf
from lab.guest.symbols.dwarf import Function
from lab.guest.symbols.elf import Section, Symbol
from lab.substrate.btf import Types

ASKS = '''
"""Who has an address is asked for by ARP."""
from lab import Lab

def test_the_neighbour_answers():
    """The neighbour answers."""
    with Lab.up("two-hosts") as made:
        made["a"].run(["ping", "-c1", "-W4", "10.0.0.2"])
'''
ENDS = 3 * BOOTED  # seconds: a boot on a busy host, with a debugger in its way
HELD = 5  # seconds: longer than the ping waits
ARP = "((struct arphdr *)(skb->head + skb->network_header))"
REQUEST = 1 << 8  # as it is on the wire
HOLDS_AND_READS = (
    "break arp_process",
    "continue",
    "print skb->dev->name",
    f"print {ARP}->ar_op",
    "up",
    f"shell sleep {HELD}",
    "delete",
    "detach",
)


@contextmanager
def waiting(kernel: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command, once it has said how to attach, and that line's words."""
    argv = [*LAB, "--kernel", kernel, "debug", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next((line for line in process.stderr if line.startswith("gdb ")), "")
            assert line, process.wait()
            yield process, shlex.split(line)
        finally:
            process.terminate()
            process.communicate(timeout=ENDS)


@pytest.fixture
def asks(tmp_path: Path) -> Path:
    path = tmp_path / "asks.py"
    path.write_text(ASKS.lstrip())
    return path


def told(gdb: list[str], *commands: str) -> str:
    """What gdb printed."""
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        [*gdb, "-nx", "-batch", *words], capture_output=True, text=True, timeout=ENDS, stdin=subprocess.DEVNULL, check=False
    )
    return done.stdout + done.stderr


def socket_of(gdb: list[str]) -> Path:
    return Path(gdb[-1].split()[-1])


def test_gdb_stops_at_the_experiments_arp_request_reads_it_and_lets_it_run_on(stock: str, asks: Path) -> None:
    """The kernel is held for longer than the ping waits: its clock stands meanwhile."""
    with waiting(stock, asks) as (process, gdb):
        said = told(gdb, *HOLDS_AND_READS)
        stdout = process.stdout.read() if process.stdout else ""
        process.wait(timeout=ENDS)
    assert re.search(r"Breakpoint 1, .* in arp_process \(net=0x\w+, sk=0x0, skb=0x\w+\)", said), said
    assert '$1 = "eth0"' in said
    assert f"$2 = {REQUEST}" in said
    assert "#1 " in said
    assert "detached" in said
    assert process.returncode == 0, stdout
    assert "✓ The neighbour answers" in stdout
    assert not socket_of(gdb).parent.exists()


def test_an_interrupt_ends_a_guest_that_nobody_has_let_go(stock: str, asks: Path) -> None:
    with waiting(stock, asks) as (process, gdb):
        guest = descendants(process.pid)
        assert guest
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=ENDS) == 130
        until_gone(guest)
    assert not socket_of(gdb).parent.exists()


@pytest.mark.soak
def test_an_interrupt_ends_a_guest_that_gdb_holds_in_the_middle_of_the_experiment(stock: str, asks: Path) -> None:
    with waiting(stock, asks) as (process, gdb):
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*gdb, "-nx"], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as debugger:
            assert debugger.stdin is not None
            assert debugger.stdout is not None
            debugger.stdin.write("set confirm off\nbreak arp_process\ncontinue\n")
            debugger.stdin.flush()
            assert any("Breakpoint 1, " in line for line in debugger.stdout)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=ENDS) == 130
            debugger.communicate("quit\n", timeout=ENDS)
    assert not socket_of(gdb).parent.exists()


def test_a_kernel_is_asked_for_its_symbols_once(stock: str, asks: Path) -> None:
    for _ in range(2):
        with waiting(stock, asks) as (_, gdb):
            symbols = Path(gdb[2])
            made_at = symbols.stat().st_mtime_ns
    assert symbols.stat().st_mtime_ns == made_at


def test_a_guest_that_cannot_be_held_is_a_wrong_call(uml: str) -> None:
    for words, why in (((), "--kernel 6.1"), (("--kernel", "host"), "--kernel 6.1"), (("--kernel", uml), "User-mode Linux")):
        said = lab(*words, "debug", "rp-filter", env={"LAB_KERNEL": ""})
        assert said.status == 2, said.stderr
        assert why in said.stderr


def test_a_scenario_that_is_none_is_told_before_anything_is_booted(stock: str) -> None:
    said = lab("--kernel", stock, "debug", "no-such-one")
    assert said.status == 2
    assert said.stderr.startswith("lab: there is no scenario 'no-such-one'")


def test_gdb_reads_types_and_arguments_as_they_were_described(tmp_path: Path) -> None:
    described, begin = made(), 0xFFFFFFFF81000000
    described.add("", FUNC_PROTO, (described.text("first"), 1), (described.text("second"), 3), many=2, size=1)  # 12
    described.add("consume", FUNC, size=12)  # 13
    functions = {"consume": Function(begin, 64, 6)}
    text = Section(".text", 6, begin, 4096, 0, stored=False)
    symbols = [Symbol("consume", begin, 64, True, True)]
    path = tmp_path / "symbols"
    path.write_bytes(elf.file([text], symbols, dwarf.sections(Types(described.data()), functions)))
    asked = ("ptype/o struct packet", "ptype consume", "info scope consume", "print (enum reason)5")
    said = told(["gdb", "-q", str(path)], *asked)
    for line in ("int length;", "struct device *device;", "int low : 4;", "wrapped inner;", "$1 = SECOND"):
        assert line in said, said
    assert "type = int (int, struct device *)" in said
    assert re.search(r"second is multi-location:\s+Range 0x\w+-0x\w+: a variable in \$rsi", said), said


def test_the_socket_is_the_callers_alone(stock: str, asks: Path) -> None:
    with waiting(stock, asks) as (_, gdb):
        assert socket_of(gdb).parent.stat().st_mode & 0o077 == 0
