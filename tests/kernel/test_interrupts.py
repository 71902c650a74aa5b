"""`up` that is interrupted, or not permitted, leaves nothing and says so by its exit status."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import LAB, SECONDS, interrupted_after, lab, started, well
from support.topologies import EVERY_STEP, PAIR
from support.world import look, until_as

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
INT, TERM = signal.SIGINT, signal.SIGTERM
STATUS = {INT: 130, TERM: 143}
LAST = 34
"""Lines that `up -v` says for EVERY_STEP."""


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("line", [1, 2, 7, 20, LAST - 1])
def test_up_that_is_interrupted_after_any_step_undoes_all(topology: Write, number: signal.Signals, line: int) -> None:
    before = look()
    said = interrupted_after(line, (number,), "up", "-v", topology(EVERY_STEP))
    assert (said.status, said.stdout) == (STATUS[number], "")
    assert "Traceback" not in said.stderr
    until_as(before)


@pytest.mark.parametrize("numbers", [(INT,) * 5, (TERM, INT, TERM, INT)], ids=["one key", "both signals"])
@pytest.mark.parametrize("line", [1, 9, 20, LAST - 1])
def test_impatience_does_not_leave_a_lab_half_undone(topology: Write, numbers: tuple[signal.Signals, ...], line: int) -> None:
    before = look()
    said = interrupted_after(line, numbers, "up", "-v", topology(EVERY_STEP))
    assert said.status in STATUS.values()
    assert "Traceback" not in said.stderr
    until_as(before)


def test_up_that_is_interrupted_while_it_waits_for_readiness_undoes_all(topology: Write) -> None:
    """Detection of duplicates takes nine seconds or more here, in which the command sleeps."""
    detects = "defaults: {{nodes: {{sysctls: {{net.ipv6.conf.default.dad_transmits: 9}}}}}}\n"
    file, before = topology(PAIR.replace(", nodad: true", "") + detects), look()
    steps = len(well("plan", file).stdout.splitlines())
    said = interrupted_after(steps, (INT,), "up", "-v", file)
    assert (said.status, said.stdout) == (130, "")
    until_as(before)


def test_up_that_is_interrupted_at_any_moment_is_whole_or_undone(topology: Write, name: str) -> None:
    """A signal that comes before Python has its handlers ends the process by itself, with nothing made."""
    file, before = topology(EVERY_STEP), look()
    moments = random.Random(42)
    for _ in range(25):
        number = moments.choice((INT, TERM))
        with started("up", file) as process:
            try:
                process.wait(timeout=moments.uniform(0.05, 0.7))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            stdout, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode in (0, STATUS[number], -number), stderr
        if process.returncode == 0:
            assert f"lab {name} is up" in stdout
            well("down", name)
        else:
            assert stdout == ""
        until_as(before, f"{number.name}, status {process.returncode}: {stdout}{stderr}")


def test_an_interrupt_that_a_library_takes_for_a_failure_of_its_own_is_still_an_interrupt() -> None:
    """pydantic wraps what a signal handler raises while it builds its validators."""
    fault = (
        "import lab.recipe, os, signal, sys\n"
        "def read(*_):\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "    except BaseException as error: raise ValueError('a failure of its own') from error\n"
        "lab.recipe.read = read\n"
        "from lab.cli.app import main; sys.exit(main(['validate', 'x.yaml']))"
    )
    done = subprocess.run([LAB[0], "-c", fault], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_a_command_that_was_started_in_the_background_ignores_what_its_shell_ignores(topology: Write, name: str) -> None:
    ignoring = [
        LAB[0],
        "-c",
        "import os, signal, sys; signal.signal(2, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])",
    ]
    argv = [*ignoring, *LAB, "up", "-v", str(topology(EVERY_STEP))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(INT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    well("down", name)


def test_down_that_is_interrupted_finishes_first(topology: Write, name: str) -> None:
    before = look()
    well("up", topology(EVERY_STEP))
    up = look()
    with started("down", name) as process:
        while look().names == up.names and process.poll() is None:
            os.sched_yield()
        process.send_signal(INT)
        process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 130)
    until_as(before)


def test_a_lab_that_somebody_works_on_is_busy_and_prune_lets_it_be(topology: Write, name: str) -> None:
    with started("up", "-v", topology(EVERY_STEP)) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGSTOP)
        try:
            assert re.search(rf"^{name}\s+busy\s", well("ls").stdout, re.MULTILINE)
            assert well("prune").stdout == ""
            said = lab("inspect", name)
            assert said.status == 2
            assert f"lab '{name}' is not up" in said.stderr
        finally:
            process.send_signal(signal.SIGCONT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    well("down", name)


@pytest.mark.parametrize("capability", ["sys_admin", "net_admin"])
def test_root_without_a_capability_is_told_which_is_missing(topology: Write, capability: str) -> None:
    before = look()
    argv = ["setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}", *LAB, "up", str(topology(PAIR))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert f"root has no CAP_{capability.upper()} here" in done.stderr
    assert look() == before


def test_the_limit_of_namespaces_is_a_failed_step_with_its_reason(topology: Write) -> None:
    """In a user namespace of its own, whose limit binds nobody else."""
    limit = "from pathlib import Path; Path('/proc/sys/user/max_net_namespaces').write_text('2')"
    then = f"{limit}; import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'lab', *sys.argv[1:]])"
    before = look()
    argv = ["unshare", "--user", "--map-root-user", "--mount", LAB[0], "-c", then, "up", str(topology(EVERY_STEP))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    for words in ("step failed on node", "make the network namespace of", "ENOSPC", "see /proc/sys/user/max_net_namespaces"):
        assert words in done.stderr
    assert look() == before
