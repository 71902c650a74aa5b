"""Where a check goes whose features lack here: the choice among kernels, the words of the command, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.dispatch import choose, features, guests, send
from lab.dispatch.sorter import Sent
from lab.drawing.picture import Box, Cable, Device, End, Picture
from lab.errors import HostError
from lab.kernels import Kernel
from lab.report import junit, part
from lab.report.part import PartError
from lab.report.results import Capture, Check, Frame, Outcome, Recorded, Run, Step, Table

PICTURE = Picture(
    "x", (Box("a", "host", ("dnsmasq",), (Device("lo", ("mtu 1",)),)),), (Cable(End("a", Device("e")), End("b", Device("f"))),)
)
RECORDED = Recorded(
    "x",
    {"members": "3"},
    (Step("a", "run", "ping", 1.5, None, "timeout"),),
    2,
    (Capture(("a:eth0",), "arp", (Frame(1.25, "a:eth0", "sends", "who has", "###", 42),), 1, {"a:eth0": 3}),),
    PICTURE,
)
HELD = Check(
    "x", "test_a", "It holds", Outcome.HELD, 0.5, tables={"t": Table(("a",), (("1",),))}, started=9.0, recorded=RECORDED
)
FAILED = Check("x", "test_b", "It \x01 holds", Outcome.FAILED, 0.25, 1, "assert 1 == 2", "Traceback", {"kernel log": "…"})
RUN = Run((HELD, FAILED), 9.0, 1.0, ("problem",), 0, False, 1, {"x": "about"})
WISHES = send.Wishes({"lan": "vlan"}, True, 2, True, "table", 0, False)


def kernel(name: str, folder: Path = Path("/nowhere")) -> Kernel:
    return Kernel(name, name, "amd64", folder / "vmlinuz", None, folder / "derived")


def sent(name: str, *needs: str) -> Sent:
    return Sent(f"/t/{name}.py::test", name, "test", "It is so", frozenset(needs), frozenset(needs))


def test_a_run_is_read_back_as_it_was() -> None:
    assert part.loads(part.dumps(RUN)) == RUN


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said.update(version=2),
        lambda said: said["run"].pop("checks"),
        lambda said: said["run"].update(started="now"),
        lambda said: said["run"]["checks"][0].update(outcome="perhaps"),
        lambda said: said["run"]["checks"][0].update(title=["a list"]),
        lambda said: said["run"]["checks"][0].update(status=True),
        lambda said: said["run"]["checks"][0]["recorded"].update(picture=3),
    ],
)
def test_what_is_no_run_is_refused(spoil: object) -> None:
    said = json.loads(part.dumps(RUN))
    spoil(said)  # type: ignore[operator]
    with pytest.raises(PartError):
        part.loads(json.dumps(said))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_what_is_not_even_json_is_refused(text: str) -> None:
    with pytest.raises(PartError):
        part.loads(text)


def test_the_first_kernel_that_serves_all_is_taken() -> None:
    has = {"uml": frozenset({"vlan"}), "6.1": frozenset({"vlan", "btf"}), "6.12": frozenset({"vlan", "btf"})}
    needs = {"a": frozenset({"vlan"}), "b": frozenset({"btf"})}
    found, served, _ = choose.best(needs, [kernel(name) for name in has], lambda each: has[each.name])
    assert found is not None
    assert (found.name, sorted(served)) == ("6.1", ["a", "b"])


def test_where_none_serves_all_the_one_that_serves_most_is_taken() -> None:
    has = {"uml": frozenset({"vlan"}), "6.1": frozenset({"vlan", "tbf"})}
    needs = {"a": frozenset({"vlan"}), "b": frozenset({"netem or tbf"}), "c": frozenset({"tcp_ao"})}
    found, served, _ = choose.best(needs, [kernel(name) for name in has], lambda each: has[each.name])
    assert found is not None
    assert (found.name, sorted(served)) == ("6.1", ["a", "b"])


def test_a_kernel_that_does_not_boot_is_passed_over_and_told() -> None:
    def ask(asked: Kernel) -> frozenset[str]:
        if asked.name == "6.1":
            raise HostError("it panicked\nwith lines")
        return frozenset({"vlan"})

    found, served, troubles = choose.best({"a": frozenset({"vlan"})}, [kernel("6.1"), kernel("6.12")], ask)
    assert found is not None
    assert (found.name, sorted(served), troubles) == ("6.12", ["a"], ["kernel 6.1: it panicked\nwith lines"])


@pytest.fixture
def one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "candidates", lambda: [kernel("6.1")])
    monkeypatch.setattr(features, "of", lambda _: frozenset({"vlan"}))


def guest(monkeypatch: pytest.MonkeyPatch, run: Run | None, status: int) -> list[Sequence[str]]:
    """A guest that leaves these results; the commands that it was given."""
    heard: list[Sequence[str]] = []

    def ran(_kernel: Kernel, argv: Sequence[str], results: Sequence[Path]) -> int:
        heard.append(argv)
        if run:
            results[0].write_text(part.dumps(run))
        return status

    monkeypatch.setattr(guests, "run", ran)
    return heard


def test_the_results_of_a_guest_carry_its_kernel(monkeypatch: pytest.MonkeyPatch, one_kernel: None) -> None:
    made = Check("a", "test", "It is so", Outcome.HELD, 0.1)
    heard = guest(monkeypatch, Run((made,), 1.0, 1.0), 0)
    shown: list[Check] = []
    done = send.send([sent("a", "vlan"), sent("b", "tcp_ao")], WISHES, shown.append)
    assert [(check.scenario, check.outcome, check.kernel) for check in done.checks] == [
        ("b", Outcome.SKIPPED, ""),
        ("a", Outcome.HELD, "6.1"),
    ]
    assert [check.scenario for check in shown] == ["b"]  # the guest printed the other
    assert heard[0][-2:] == ["--", "/t/a.py::test"]
    assert {"--slow", "--record", "lan=vlan"} <= set(heard[0])


def test_a_guest_that_dies_leaves_checks_that_could_not_be_made(monkeypatch: pytest.MonkeyPatch, one_kernel: None) -> None:
    def panics(*_: object) -> int:
        raise HostError("the guest panicked", "see its last lines")

    monkeypatch.setattr(guests, "run", panics)
    shown: list[Check] = []
    done = send.send([sent("a", "vlan")], WISHES, shown.append)
    (check,) = done.checks
    assert (check.outcome, check.status, check.kernel) == (Outcome.ERROR, 3, "6.1")
    assert "the guest panicked" in check.message
    assert len(shown) == 1
    assert done.status == 3


def test_a_check_of_which_nothing_came_back_is_told(monkeypatch: pytest.MonkeyPatch, one_kernel: None) -> None:
    guest(monkeypatch, Run((Check("a", "test", "It is so", Outcome.HELD, 0.1),), 1.0, 1.0), 70)
    done = send.send([sent("a", "vlan"), sent("b", "vlan")], WISHES, lambda _: None)
    assert [(check.scenario, check.outcome) for check in done.checks] == [("a", Outcome.HELD), ("b", Outcome.ERROR)]
    assert "status 70" in done.checks[1].message


def test_an_interrupt_in_the_guest_is_the_runs(monkeypatch: pytest.MonkeyPatch, one_kernel: None) -> None:
    guest(monkeypatch, None, 130)
    done = send.merged(RUN, send.send([sent("a", "vlan")], WISHES, lambda _: None))
    assert done.status == 130
    assert done.checks == RUN.checks


def test_what_a_kernel_can_do_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.substrate.features import NAMES

    (tmp_path / "vmlinuz").touch()
    asked: list[Kernel] = []

    def ran(which: Kernel, argv: Sequence[str], results: Sequence[Path]) -> int:
        asked.append(which)
        assert argv[-1] == str(results[0])
        results[0].write_text(json.dumps({name: name == "vlan" for name in NAMES}))
        return 0

    monkeypatch.setattr(guests, "run", ran)
    monkeypatch.setattr(guests, "substrate", lambda _: "tcg")
    assert features.of(kernel("6.1", tmp_path)) == features.of(kernel("6.1", tmp_path)) == {"vlan"}
    assert len(asked) == 1
    monkeypatch.setattr(guests, "substrate", lambda _: "kvm")
    features.of(kernel("6.1", tmp_path))
    assert len(asked) == 2


def test_junit_has_one_suite_more(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text('<testsuites name="x"><testsuite name="lab" tests="1"><testcase name="test_0"/></testsuite></testsuites>')
    junit.add(file, "lab in a guest", [HELD, FAILED])
    first, second = ElementTree.parse(file).getroot()
    assert (first.get("tests"), second.get("tests"), second.get("failures")) == ("1", "2", "1")
    failure = second.find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("assert 1 == 2", "Traceback")
