"""The table of many kernels: cells, the order of kernels, differences between neighbours, exit status, reports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.errors import HostError
from lab.guest import verdict
from lab.guest.spec import Guest, Substrate
from lab.guest.verdict import End
from lab.kernels import Kernel
from lab.matrix import boots, page, tell
from lab.matrix.boots import Place
from lab.matrix.verdicts import Column, Matrix, Verdict
from lab.report.results import Check, Outcome, Run

HELD, FAILED, ERROR, SKIPPED = Outcome.HELD, Outcome.FAILED, Outcome.ERROR, Outcome.SKIPPED
_STATUS = {HELD: 0, FAILED: 1, ERROR: 3, SKIPPED: 0}


def check(name: str, outcome: Outcome) -> Check:
    message = "" if outcome is HELD else f"\nwhy {name} <is> so\nmore"
    return Check("syn", name, f"Title of {name}", outcome, 0.1, _STATUS[outcome], message)


def column(release: str, *outcomes: Outcome) -> Column:
    checks = tuple(check(f"test_{at}", outcome) for at, outcome in enumerate(outcomes))
    return Column(release, release, Run(checks, 1.0, 1.0, about={"syn": "About SYNs"}), 2.0)


def matrix(*columns: Column) -> Matrix:
    return Matrix(columns, 1.0, 9.0)


UNBOOTED = Column("7.3", "7.3-x", None, 90.0, "it did not boot\n    with lines", 3)


def test_a_difference_is_between_neighbours() -> None:
    found = matrix(column("5.10", FAILED, HELD), column("6.1", FAILED, HELD), column("6.12", HELD, HELD)).differences()
    assert [(each.name, each.older, each.before, each.newer, each.after) for each in found] == [
        ("test_0", "6.1", Verdict.FAIL, "6.12", Verdict.PASS)
    ]
    assert str(found[0]) == "syn: Title of test_0: fail on 6.1, pass on 6.12"
    assert found[0].reason == "why test_0 <is> so"


def test_kernels_that_decided_nothing_lie_in_between() -> None:
    columns = column("5.10", FAILED), column("6.1", SKIPPED), UNBOOTED, column("6.12", HELD)
    ((older, newer),) = [(each.older, each.newer) for each in matrix(*columns).differences()]
    assert (older, newer) == ("5.10", "6.12")


def test_a_verdict_that_changes_twice_is_two_differences() -> None:
    assert len(matrix(column("1", HELD), column("2", FAILED), column("3", HELD)).differences()) == 2


@pytest.mark.parametrize(
    ("outcomes", "cell"),
    [
        ((HELD, HELD), "pass 2/2"),
        ((HELD, FAILED), "fail 1/2"),
        ((HELD, ERROR, FAILED), "error 1/3"),
        ((HELD, SKIPPED), "pass 1/1, 1 skipped"),
        ((SKIPPED, SKIPPED), "skipped 2"),
    ],
)
def test_a_cell_says_how_many_held(outcomes: tuple[Outcome, ...], cell: str) -> None:
    made = matrix(column("6.1", *outcomes))
    assert str(made.cell(made.columns[0], "syn")) == cell


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ((column("1", HELD), column("2", HELD)), 0),
        ((column("1", HELD), column("2", FAILED)), 1),
        ((column("1", FAILED), UNBOOTED), 3),
        ((column("1", SKIPPED), column("2", HELD)), 0),
        ((column("1", SKIPPED), column("2", SKIPPED)), 4),
    ],
)
def test_the_exit_status_is_that_of_all_kernels(columns: tuple[Column, ...], status: int) -> None:
    assert matrix(*columns).status == status


def test_reasons_are_told_once_for_all_cells() -> None:
    said = list(tell.lines(matrix(column("5.10", SKIPPED), column("6.1", SKIPPED), UNBOOTED)))
    assert "syn on 5.10, syn on 6.1: skipped: why test_0 <is> so" in said
    assert "7.3-x: could not boot: it did not boot\n    with lines" in said


def test_what_fails_everywhere_is_no_difference_and_is_told() -> None:
    said = "\n".join(tell.lines(matrix(column("5.10", FAILED), column("6.1", FAILED))))
    assert "differs" not in said
    assert "fails on 5.10, 6.1: syn: Title of test_0\n    why test_0" in said


def test_a_kernel_whose_command_ended_otherwise_did_boot() -> None:
    made = matrix(Column("6.1", "6.1", None, 1.0, "a traceback", 70), UNBOOTED)
    assert [str(made.cell(each, "syn")) for each in made.columns] == ["error", "could not boot"]
    assert made.status == 70


@pytest.mark.parametrize(
    ("end", "word"),
    [(End.BOOT, "could not boot"), *((end, "died") for end in (End.PANIC, End.HANG, End.MEMORY, End.DIED))],
)
def test_a_guest_that_died_is_told_from_one_that_did_not_boot(end: End, word: str) -> None:
    guest = Guest("6.1.0-1", Substrate.TCG, Path("/c/vmlinux"), None, ("python", "agent.py"))
    console = "BUG: a null pointer\nCall Trace:\n f+0x1/0x2\nKernel panic - not syncing: Fatal exception\n"
    log = ["lab: kernel 6.1.0-1 in QEMU without KVM, 1024 MiB", "syn  About it", "  ✓ One"]
    log += f"lab: {verdict.failure(end, guest, console, seconds=9)}".splitlines()
    said = boots.trouble(log)
    column = Column("6.1", "6.1.0-1", None, 1.0, said, 3)
    assert str(matrix(column).cell(column, "syn")) == word
    assert "Call Trace:\n    |  f+0x1/0x2\n    | Kernel panic" in said
    assert "lab: kernel 6.1.0-1 in" not in said


def test_json_has_every_verdict_and_every_difference(tmp_path: Path) -> None:
    tell.write_json(matrix(column("6.1", FAILED), column("6.12", HELD), UNBOOTED), tmp_path / "m.json")
    said = json.loads((tmp_path / "m.json").read_text())
    assert (said["version"], said["kind"]) == (1, "matrix")
    (scenario,) = said["data"]["scenarios"]
    assert {release: each["verdict"] for release, each in scenario["verdicts"].items()} == {
        "6.1": "fail",
        "6.12": "pass",
        "7.3-x": "could not boot",
    }
    (difference,) = said["data"]["differences"]
    assert (difference["older"], difference["newer"]) == ("6.1", "6.12")


def test_junit_has_a_suite_a_kernel(tmp_path: Path) -> None:
    tell.write_junit(matrix(column("6.1", FAILED), column("6.12", HELD), UNBOOTED), tmp_path / "m.xml")
    suites = list(ElementTree.parse(tmp_path / "m.xml").getroot())
    assert [(suite.get("name"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("Linux 6.1", "1", "0"),
        ("Linux 6.12", "0", "0"),
        ("Linux 7.3-x", "0", "1"),
    ]


def test_the_page_shows_all_of_it_and_what_was_said_is_text(tmp_path: Path) -> None:
    page.write(matrix(column("6.1", FAILED), column("6.12", HELD), UNBOOTED), tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "why test_0 &lt;is&gt; so" in text
    assert "<script" not in text
    assert 'href="6.12/index.html"' in text
    assert "Linux 6.12 · lab" in (tmp_path / "6.12/index.html").read_text()
    assert not (tmp_path / "7.3-x").exists()


def test_kernels_come_from_the_oldest_to_the_newest_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = {"latest": "6.12.9-amd64", "6.12": "6.12.9-amd64", "5.10": "5.10.0-46-amd64", "6.1": "6.1.0-56-amd64"}

    def find(name: str) -> Kernel:
        if name not in releases:
            raise HostError(f"no kernel {name} was fetched", f"lab kernels fetch {name}")
        return Kernel(name, releases[name], "amd64", Path("/x"), None, Path("/x"))

    monkeypatch.setattr("lab.kernels.find", find)
    assert boots.places(["6.12", "latest", "6.1", "5.10"]) == [
        Place("5.10", "5.10.0-46-amd64"),
        Place("6.1", "6.1.0-56-amd64"),
        Place("6.12", "6.12.9-amd64"),
    ]
    with pytest.raises(HostError) as refused:
        boots.places(["5.4", "6.1", "4.19"])
    assert [problem.hint for problem in refused.value.problems] == ["lab kernels fetch 5.4", "lab kernels fetch 4.19"]


def test_no_more_guests_at_once_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "_available", lambda: 3000)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    assert boots.at_once(None, 1024, 9) == 2
    assert boots.at_once(1, 1024, 9) == 1
    assert boots.at_once(None, 4096, 9) == 1
    monkeypatch.setattr(boots, "_available", lambda: 300_000)
    assert boots.at_once(None, 1024, 9) == 8
    assert boots.at_once(None, 1024, 3) == 3
