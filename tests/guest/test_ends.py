"""How guests end that come to no good: each is told apart, with status 3 and within a bounded time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.guests import on, with_limits

Scenario = Callable[[str], Path]


def test_a_panic_is_told_with_the_kernels_last_lines(stock: str, scenario: Scenario) -> None:
    """On two processors, as wished."""
    body = "assert os.cpu_count() == 2; open('/proc/sysrq-trigger', 'w').write('c')"
    said = on(stock, "--cpus", "2", "run", scenario(body))
    assert said.status == 3, said.stdout + said.stderr
    assert "1024 MiB, 2 processors" in said.stderr
    assert "panicked" in said.stderr
    assert "| Kernel panic - not syncing: sysrq triggered crash" in said.stderr


def test_a_guest_without_memory_is_told_and_given_more(uml: str, scenario: Scenario) -> None:
    said = on(uml, "run", scenario("[b'x' * (1 << 20) for _ in range(1024)]"), env={"LAB_MEMORY": "192"})
    assert said.status == 3, said.stdout + said.stderr
    assert "ran out of memory: it has 192 MiB" in said.stderr
    assert "--memory 384" in said.stderr


def test_a_guest_that_does_not_answer_hangs(uml: str, scenario: Scenario) -> None:
    """A process of the highest priority takes the one processor for itself."""
    body = """
open("/proc/sys/kernel/sched_rt_runtime_us", "w").write("-1")
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
while True:
    pass
"""
    said = with_limits(uml, "run", scenario(body), silent=6)
    assert said.status == 3, said.stdout + said.stderr
    assert "hangs: it has not answered for 6 s" in said.stderr


def test_a_guest_that_does_not_come_up_in_time_is_told(stock: str) -> None:
    said = with_limits(stock, "run", "rp-filter", boot=0.5)
    assert said.status == 3
    assert "did not boot in QEMU without KVM within 0.5 s" in said.stderr


def test_too_little_memory_is_a_wrong_call(uml: str) -> None:
    said = on(uml, "run", "rp-filter", env={"LAB_MEMORY": "16"})
    assert said.status == 2
    assert "at least 128 MiB" in said.stderr
