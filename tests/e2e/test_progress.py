"""What is shown while a command works for more than a second: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.commands import LAB, SECONDS, lab, started, well
from support.screens import on_screen
from support.topologies import PAIR
from support.world import run_directory

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
# Three probes, a second apart, before the address can be used (RFC 4862): `up` waits for more than three seconds.
SLOW = """\
name: {name}
nodes:
  a: {{sysctls: {{net.ipv6.conf.default.dad_transmits: 3}}}}
  b: {{}}
links:
  - {{endpoints: [a, b], addresses: {{a: "2001:db8::1/64"}}}}
"""
AWAITED = "a: 2001:db8::1 on eth0 is usable"
LINE = re.compile(r"\r\x1b\[2K(?:\x1b\[2m)?([^\r\n\x1b]+(?:, \d+ s|…))")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def slow(topology: Write, name: str) -> Iterator[Path]:
    yield topology(SLOW)
    if name in well("ls").stdout:
        well("down", name)


def drawn(shown: str) -> list[str]:
    return LINE.findall(shown)


def seconds(lines: Sequence[str]) -> list[int]:
    """That lines tell at their ends."""
    return [int(line.rpartition(", ")[2].removesuffix(" s")) for line in lines]


def left(shown: str) -> list[str]:
    """What stands on the terminal at the end: a cleared line is gone."""
    return [line.rpartition("\x1b[2K")[2] for line in COLOUR.sub("", shown).replace("\r\n", "\n").split("\n")]


def test_up_says_how_far_it_is_and_what_it_waits_for(slow: Path, name: str) -> None:
    steps = len(well("plan", slow).stdout.splitlines())
    with on_screen("up", slow) as (process, screen):
        shown = screen.ends()
        assert process.wait() == 0
    lines = [line for line in drawn(shown) if AWAITED in line]
    assert {line.rpartition(", ")[0] for line in lines} == {f"{name}: {steps} steps done; waiting until {AWAITED}"}
    assert seconds(lines)[-1] > seconds(lines)[0] > 0
    assert left(shown)[0].startswith(f"lab {name} is up: 2 nodes in ")
    assert len(left(shown)) == 3


def test_steps_that_are_said_stay_whole(slow: Path, name: str) -> None:
    with on_screen("-v", "up", slow) as (_process, screen):
        shown = screen.ends()
    planned = [line.split(maxsplit=1)[1] for line in well("plan", slow).stdout.splitlines()]
    assert left(shown)[: len(planned)] == planned
    assert drawn(shown)


def test_up_says_a_step_that_takes_its_time(topology: Write, name: str) -> None:
    """On a host that is slow; here the thousands of a large lab."""
    nodes = ", ".join(f"n{number}: {{{{}}}}" for number in range(1500))
    with on_screen("up", topology(f"name: {{name}}\nnodes: {{{{{nodes}}}}}\n")) as (process, screen):
        found = screen.shows(rf"{name}: step \d+ of \d+: make the network namespace of n\d+")
        process.send_signal(signal.SIGINT)
        shown = screen.ends()
        assert process.wait() == 130
    assert int(found.split()[2]) <= int(found.split()[4].rstrip(":"))
    assert left(shown) == ["", ""]


def test_down_says_that_it_works(slow: Path, name: str) -> None:
    """Here it waits for `up`, which has the lab's lock until its address can be used: for twice as long as elsewhere."""
    slow.write_text(slow.read_text().replace("dad_transmits: 3", "dad_transmits: 6"))
    with started("-v", "up", slow) as process:
        until_made(process, name)
        with on_screen("down", name) as (down, screen):
            screen.shows(rf"taking lab {name} down, \d+ s")
            shown = screen.ends()
            assert down.wait() == 0
        process.communicate(timeout=SECONDS)
    assert left(shown) == [f"lab {name} is gone", ""]


def until_made(process: subprocess.Popen[str], name: str) -> None:
    assert process.stderr is not None
    while "raise" not in process.stderr.readline():
        assert process.poll() is None


@pytest.mark.parametrize("words", [("wait", "a", "route", "default"), ("wait", "a", "listening", "tcp/9")])
def test_wait_says_what_it_waits_for(slow: Path, name: str, words: tuple[str, ...]) -> None:
    well("up", "--no-wait", slow)
    with on_screen(words[0], name, *words[1:], "--timeout", "3") as (process, screen):
        shown = screen.ends()
        assert process.wait() == 1
    assert {line.rpartition(", ")[0] for line in drawn(shown)} == {f"waiting: {' '.join(words[1:])}"}
    assert seconds(drawn(shown))[0] > 0
    assert left(shown)[0].startswith("lab: on node a, within 3 s never came true: ")


QUIET = {
    "with -q": (("-q",), {}),
    "on a dumb terminal": ((), {"TERM": "dumb"}),
    "on one that nobody knows": ((), {"TERM": ""}),
}


@pytest.mark.parametrize(("words", "env"), QUIET.values(), ids=QUIET.keys())
def test_nothing_is_shown(slow: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
    with on_screen("up", slow, *words, env=env) as (process, screen):
        shown = screen.ends()
        assert process.wait() == 0
    assert "waiting" not in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("words", [(), ("-f", "json")])
def test_not_one_byte_of_it_on_a_pipe(slow: Path, name: str, words: tuple[str, ...]) -> None:
    said = lab("up", slow, *words, env={"TERM": "xterm", "FORCE_COLOR": "1"})
    expected = "" if words else f"look around with `lab shell {name} a`, end it with `lab down {name}`\n"
    assert said.stderr == expected
    assert "\x1b" not in said.stdout


def test_json_on_a_pipe_leaves_the_terminal_to_the_line(slow: Path) -> None:
    reader, writer = os.pipe()
    with on_screen("up", slow, "-f", "json", stdout=writer) as (_process, screen):
        os.close(writer)
        shown = screen.ends()
    with os.fdopen(reader) as file:
        assert file.read().startswith("{\n")
    assert drawn(shown)
    assert left(shown) == [""]


def test_without_colour_it_is_plain(slow: Path) -> None:
    with on_screen("up", slow, env={"NO_COLOR": "1"}) as (_process, screen):
        shown = screen.ends()
    assert drawn(shown)
    assert not COLOUR.search(shown)


def test_a_narrow_terminal_gets_one_line_all_the_same(slow: Path) -> None:
    with on_screen("up", slow, columns=30) as (_process, screen):
        shown = screen.ends()
    assert all(len(line) < 30 for line in drawn(shown))
    assert any(line.endswith("…") for line in drawn(shown))


CHECKS = '''\
"""Slow ones."""
import pytest, socket, time
from lab.observe.conditions import Listening

@pytest.mark.lab("alone.yaml")
def test_at_once(lab):
    """It is done at once."""

@pytest.mark.lab("alone.yaml")
def test_waits(lab):
    """It waits for a port."""
    print("captured")
    with pytest.raises(TimeoutError):
        lab["a"].wait(Listening(9), timeout=3.3)

@pytest.mark.lab("alone.yaml")
def test_after(lab):
    """It comes after."""
'''


@pytest.fixture
def checks(tmp_path: Path) -> Path:
    (tmp_path / "alone.yaml").write_text("name: alone\nnodes: {a: {}}\n")
    file = tmp_path / "test_slow.py"
    file.write_text(textwrap.dedent(CHECKS))
    return file


def test_run_says_which_check_is_running_beneath_those_that_were_printed(checks: Path) -> None:
    with on_screen("run", checks) as (process, screen):
        shown = screen.ends()
        assert process.wait() == 0
    lines = [line for line in drawn(shown) if "It waits" in line]
    assert 0 < seconds(lines)[0] < seconds(lines)[-1]
    assert any(line.startswith("It waits for a port; waiting until a: TCP port 9 is served, ") for line in lines)
    told = [re.sub(r"\d+ ms$", "", line).rstrip() for line in left(shown)]
    assert told[1:4] == ["  ✓ It is done at once", "  ✓ It waits for a port", "  ✓ It comes after"]
    assert "captured" not in shown
    assert not run_directory().exists()


def test_run_says_nothing_of_it_on_a_pipe_or_quietly(checks: Path) -> None:
    said = lab("run", checks, env={"TERM": "xterm"})
    assert (said.status, said.stderr) == (0, "")
    assert "\x1b" not in said.stdout
    with on_screen("run", checks, "-q") as (_process, screen):
        assert drawn(screen.ends()) == []


# -- colours of what is printed


@pytest.mark.parametrize("words", [("ls",), ("scenarios",), ("run", "rp-filter::test_without_the_filter_both_answer")])
def test_colours_are_for_terminals_and_for_who_forces_them(words: tuple[str, ...]) -> None:
    def escapes(env: dict[str, str]) -> bool:
        return "\x1b[" in lab(*words, env={"TERM": "xterm", **env}).stdout

    def on_terminal(env: dict[str, str]) -> bool:
        with on_screen(*words, env=env) as (_process, screen):
            return bool(COLOUR.search(screen.ends()))

    assert not escapes({})
    assert escapes({"FORCE_COLOR": "1"})
    assert not escapes({"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert on_terminal({})
    assert not on_terminal({"NO_COLOR": "1"})
    assert not on_terminal({"TERM": "dumb"})


def test_an_interrupt_takes_the_line_away(slow: Path) -> None:
    with on_screen("up", slow) as (process, screen):
        screen.shows("waiting until")
        process.send_signal(signal.SIGTERM)
        shown = screen.ends()
        assert process.wait() == 143
    assert left(shown) == [""]


def test_a_library_for_terminals_is_loaded_only_once_a_second_has_passed(topology: Write, name: str) -> None:
    code = "import sys; from lab.cli.app import main; main(sys.argv[1:]); print('rich' in sys.modules)"
    file, argv = topology(PAIR), [LAB[0], "-c", code]
    done = subprocess.run([*argv, "up", file], capture_output=True, text=True, timeout=SECONDS, check=True)
    well("down", name)
    assert done.stdout.splitlines()[-1] == "False"
