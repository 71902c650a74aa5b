"""`lab --kernel X run`: the same command in a guest: its output, its files, its status, and the host's files untouched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import LAB, lab
from support.guests import BOOTED, descendants, on, until_gone
from support.screens import on_screen

Scenario = Callable[[str], Path]

LAB_OF_TWO = """
from lab import Lab
with Lab.up("two-hosts") as made:
    made["a"].run(["ping", "-c1", "2001:db8::2"])
assert os.uname().release != {release!r}
"""
WRITES = """
import errno, subprocess
def mounts(*words):
    return subprocess.run(["mount", *words]).returncode == 0
{again}
try:
    open(place + "/mark", "w")
except OSError as error:
    assert error.errno == errno.EROFS
else:
    raise AssertionError("written")
"""
# How the guest's root comes at the host's files past the layer that is thrown away, and would write there.
AGAIN = {
    "stock": """
os.mkdir("/mnt/again")
assert not mounts("-t", "9p", "-o", "rw,trans=virtio,version=9p2000.L", "lab", "/mnt/again")
place = "/lib/modules/" + os.uname().release
assert mounts("-o", "remount,rw", place)
assert "9p rw" in open("/proc/self/mountinfo").read() or " lab rw," in open("/proc/self/mountinfo").read()
""",
    "uml": """
os.mkdir("/mnt/again")
assert mounts("-t", "hostfs", "-o", "/", "none", "/mnt/again")
assert mounts("-o", "remount,rw", "/mnt/again")
place = "/mnt/again{folder}"
""",
}


@pytest.mark.parametrize("kernel", ["uml", "stock"])
def test_a_lab_is_made_in_another_kernel_and_its_check_holds(
    kernel: str, scenario: Scenario, request: pytest.FixtureRequest
) -> None:
    said = on(request.getfixturevalue(kernel), "run", scenario(LAB_OF_TWO.format(release=os.uname().release)))
    assert said.status == 0, said.stdout + said.stderr
    assert "✓ The check" in said.stdout
    assert "1 held" in said.stdout
    assert " MiB" in said.stderr.splitlines()[0]


def test_what_does_not_hold_is_told_with_its_status_as_outside(uml: str, scenario: Scenario) -> None:
    path = scenario("assert 6 * 7 == 41, 'the product'")
    inside, outside = on(uml, "run", path), lab("run", path)
    assert (inside.status, outside.status) == (1, 1)
    assert _without_times(inside.stdout) == _without_times(outside.stdout)


def test_a_mistake_in_a_scenario_is_told_as_outside(uml: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def test_x(:\n    pass\n")
    inside, outside = on(uml, "run", path), lab("run", path)
    assert (inside.status, outside.status) == (2, 2)
    assert _without_times(inside.stdout) == _without_times(outside.stdout)


def _without_times(text: str) -> list[str]:
    return [
        line.rpartition(" in ")[0] if " in " in line else line.partition(" ms")[0].rstrip("0123456789 ")
        for line in text.splitlines()
    ]


def test_results_are_written_through_and_nothing_else(uml: str, scenario: Scenario, tmp_path: Path) -> None:
    report, junit, mark = tmp_path / "report", tmp_path / "out.xml", tmp_path / "mark"
    path = scenario(f"open({str(mark)!r}, 'w').close()\nos.makedirs({str(report)!r} + '/own')")
    said = on(uml, "run", path, "--report", report, "--junit", junit, "--json", tmp_path / "out.json")
    assert said.status == 0, said.stdout + said.stderr
    assert {each.name for each in report.iterdir()} == {"index.html", "run.json", "junit.xml"}
    assert json.loads((report / "run.json").read_text())["data"]["kernel"]["release"].startswith("6.1.")
    assert junit.read_text() == (report / "junit.xml").read_text()
    assert not mark.exists()


@pytest.mark.parametrize("kernel", AGAIN)
def test_the_hosts_files_cannot_be_written_by_the_guests_root(
    kernel: str, scenario: Scenario, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    body = WRITES.format(again=AGAIN[kernel].replace("{folder}", str(tmp_path)))
    said = on(request.getfixturevalue(kernel), "run", scenario(body))
    assert said.status == 0, said.stdout + said.stderr
    assert not (tmp_path / "mark").exists()


def test_an_interrupt_reaches_the_command_in_the_guest(uml: str, scenario: Scenario) -> None:
    path = scenario("pass")
    path.write_text(path.read_text() + "\ndef test_next():\n    time.sleep(1000)\n")
    with on_screen("--kernel", uml, "run", path) as (process, screen):
        screen.shows("The check")
        process.send_signal(signal.SIGINT)
        assert "interrupted, everything is undone" in screen.ends()
        assert process.wait() == 130


def test_a_killed_lab_leaves_no_guest(uml: str, stock: str, scenario: Scenario) -> None:
    path = scenario("time.sleep(1000)")
    for kernel in (uml, stock):
        with subprocess.Popen([*LAB, "--kernel", kernel, "run", path], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "MiB" in process.stderr.readline()
            guest = descendants(process.pid)
            assert guest
            process.kill()
            process.wait()
            until_gone(guest)


def test_on_a_terminal_there_are_colours_and_the_terminal_has_its_size(uml: str, scenario: Scenario) -> None:
    path = scenario("assert os.get_terminal_size(os.open('/dev/tty', os.O_RDONLY)).columns == 99")
    with on_screen("--kernel", uml, "run", path) as (process, screen):
        screen.shows(r"\x1b\[32m✓\x1b\[0m The check")
        screen.ends()
        assert process.wait() == 0


def test_what_is_no_kernel_is_a_wrong_call_and_what_is_not_fetched_is_told() -> None:
    assert lab("--kernel", "../..//", "run", "rp-filter").status in (2, 3)
    said = lab("--kernel", "4.4", "run", "rp-filter")
    assert said.status == 3
    assert "lab kernels fetch 4.4" in said.stderr
    assert lab("--kernel", "x y", "run", "rp-filter").status == 2


def test_virtual_time_asks_for_a_kernel_and_one_that_can() -> None:
    for words in (("--warp",), ("--warp", "--kernel", "uml-6.1")):
        said = lab(*words, "run", "rp-filter")
        assert said.status == 2
        assert "--kernel" in said.stderr


def test_more_processors_than_a_guest_can_have_are_refused(uml: str, stock: str) -> None:
    for words, why in (
        (("--cpus", "2", "--kernel", uml), "cannot do --cpus 2: it has one processor"),
        (("--cpus", "2", "--warp", "--kernel", stock), "virtual time goes with one processor"),
        (("--cpus", "0", "--kernel", stock), "--cpus"),
    ):
        said = lab(*words, "run", "rp-filter")
        assert (said.status, why in said.stderr) == (2, True), said.stderr


def test_the_option_is_taken_behind_the_command_and_from_the_environment(uml: str, scenario: Scenario) -> None:
    path = scenario("assert os.uname().release.startswith('6.1.')")
    assert on("host", "run", path, "--kernel", uml).status == 0
    assert lab("run", path, timeout=BOOTED, env={"LAB_KERNEL": uml}).status == 0
    assert lab("--kernel", "host", "run", path, env={"LAB_KERNEL": "no such one"}).status == 1
