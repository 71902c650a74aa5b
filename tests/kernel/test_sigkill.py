"""Whenever lab is killed, `prune` leaves nothing of it, or the lab is whole; others' labs never notice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from support.commands import well
from support.mortal import Fate, Mortals, Order
from support.topologies import ALONE, EVERY_STEP
from support.world import look, until_as

from lab import Lab, live, state

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
PAIR = "name: {name}\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, b], addresses: {{a: 10.0.0.1/24}}}}]\n"
KILLED = -9


@pytest.fixture(scope="module")
def mortals(own_run_directory: Path) -> Iterator[Mortals]:
    with Mortals() as mortals:
        yield mortals


@pytest.fixture(scope="module")
def bystander(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is up all the while, with a process."""
    file = tmp_path_factory.mktemp("bystander") / "bystander.yaml"
    file.write_text(ALONE.format(name="bystander"))
    with Lab.up(file, name=live.unique_name("bystander")) as lab, lab["a"].spawn(["sleep", "1000"]):
        yield lab


@pytest.fixture(autouse=True)
def bystander_survives(bystander: Lab) -> Iterator[None]:
    yield
    assert bystander["a"].run(["ip", "-br", "link", "show", "lo"]).stdout.startswith("lo")


def orders(mortals: Mortals, do: str, lab: str, file: Path, detach: bool = True) -> Iterator[Fate]:
    """The same order again and again, killed one change later each time, until it is done before it dies."""
    for change in count(1):
        fate = mortals(Order(do, lab, str(file), change, detach=detach))
        if fate.status == 0:
            return
        assert fate.status == KILLED, f"{do} failed before change {change}"
        yield fate


def is_up(name: str) -> bool:
    home = state.find(name)
    return home is not None and home.is_up()


def test_prune_removes_what_any_death_of_up_leaves_and_spares_a_lab_that_is_up(
    mortals: Mortals, topology: Write, name: str
) -> None:
    file, before, whole = topology(PAIR), look(), list[str]()
    for fate in orders(mortals, "run", name, file):
        well("prune")
        if is_up(name):
            whole.append(fate.at)
            well("down", name)
        until_as(before, f"killed before: {fate.at}")
    well("down", name)
    assert whole[0].startswith("what follows note ('up',)")
    assert any("note ('init',)" in at for at in whole)


def test_prune_removes_a_lab_whose_owner_was_killed_in_whatever_state_it_was(
    mortals: Mortals, topology: Write, name: str
) -> None:
    file, before = topology(PAIR), look()
    for fate in orders(mortals, "run", name, file, detach=False):
        well("prune")
        until_as(before, f"killed before: {fate.at}")
    well("prune")
    until_as(before)


def test_the_next_up_of_a_name_removes_what_a_killed_one_left(mortals: Mortals, topology: Write, name: str) -> None:
    file, before, taken = topology(PAIR), look(), list[str]()
    for fate in orders(mortals, "up", name, file):
        if is_up(name):
            taken.append(fate.at)
        else:
            assert mortals(Order("up", name, str(file))).status == 0, f"killed before: {fate.at}"
        assert mortals(Order("down", name)).status == 0
        until_as(before, f"killed before: {fate.at}")
    well("down", name)
    assert len(taken) <= 3


def test_prune_removes_what_any_death_of_down_leaves(mortals: Mortals, topology: Write, name: str) -> None:
    file, before, deaths = topology(PAIR), look(), list[str]()
    assert mortals(Order("run", name, str(file))).status == 0
    for fate in orders(mortals, "down", name, file):
        deaths.append(fate.at)
        well("prune")
        if is_up(name):
            well("down", name)
        until_as(before, f"killed before: {fate.at}")
        assert mortals(Order("run", name, str(file))).status == 0
    until_as(before)
    assert sum("note ('down',)" in at for at in deaths) == 2


def test_down_ends_what_a_killed_down_began(mortals: Mortals, topology: Write, name: str) -> None:
    file, before = topology(PAIR), look()
    assert mortals(Order("up", name, str(file))).status == 0
    for fate in orders(mortals, "down", name, file):
        if state.find(name):
            well("down", name)
        else:
            well("prune")
        until_as(before, f"killed before: {fate.at}")
        assert mortals(Order("up", name, str(file))).status == 0
    until_as(before)


def test_prune_itself_may_be_killed(mortals: Mortals, topology: Write, name: str) -> None:
    file, before = topology(PAIR), look()
    assert mortals(Order("run", name, str(file), detach=False)).status == 0
    for fate in orders(mortals, "prune", name, file):
        well("prune")
        until_as(before, f"killed before: {fate.at}")
        assert mortals(Order("run", name, str(file), detach=False)).status == 0
    until_as(before)


@pytest.mark.parametrize("deaths", [12, pytest.param(100, marks=pytest.mark.soak)])
def test_prune_removes_what_a_death_at_any_moment_leaves(mortals: Mortals, topology: Write, name: str, deaths: int) -> None:
    file, before = topology(EVERY_STEP), look()
    whole = mortals(Order("run", name, str(file))).seconds
    well("down", name)
    moments = random.Random(4711)
    for number in range(deaths):
        after = moments.uniform(0, whole)
        fate = mortals(Order("run", name, str(file), after=after))
        well("prune")
        if is_up(name):
            well("down", name)
        until_as(before, f"moment {number}: killed after {after:.4f} s of {whole:.4f}: {fate}")


@pytest.mark.parametrize("cut", [0, 1, 40, -1, -2])
def test_a_journal_that_was_cut_in_the_middle_of_a_record_is_read_as_far_as_it_goes(
    topology: Write, name: str, mortals: Mortals, cut: int
) -> None:
    """A record longer than a page can be cut by a SIGKILL in the middle of its write."""
    before = look()
    assert mortals(Order("run", name, str(topology(PAIR)), detach=False)).status == 0
    home = state.find(name)
    assert home is not None
    journal = home.path / "journal"
    journal.write_bytes(journal.read_bytes()[:cut])
    assert live.labs()
    well("prune")
    until_as(before)
