"""`lab plan` prints exactly what `lab up` does: the same steps, in the same order, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import well
from support.topologies import ALONE, EVERY_STEP, PAIR

from lab import HostError, Lab, host, live, recipe, steps
from lab.steps import Step
from lab.topology.shipped import shipped_topologies

pytestmark = pytest.mark.root

Write = Callable[[str], Path]


def done_by_up(file: Path) -> list[Step]:
    steps: list[Step] = []
    with Lab.up(file, name=live.unique_name("steps"), wait=False, on_step=steps.append):
        return steps


@pytest.mark.parametrize("text", [ALONE, PAIR, EVERY_STEP], ids=["one host", "two hosts", "every kind of step"])
def test_up_does_the_steps_that_plan_prints(topology: Write, text: str) -> None:
    file = topology(text)
    printed = [line.split(maxsplit=1)[1] for line in well("plan", file).stdout.splitlines()]
    assert [step.describe() for step in done_by_up(file)] == printed


@pytest.mark.parametrize("file", shipped_topologies().values(), ids=list(shipped_topologies()))
def test_up_does_the_planned_steps_of_each_shipped_topology(file: Path) -> None:
    found = recipe.read(file)
    if host.missing_features(found):
        with pytest.raises(HostError, match="this kernel has no"):
            done_by_up(file)
        return
    planned = host.planned(found).steps
    assert [step.describe() for step in done_by_up(file)] == [step.describe() for step in planned]


def test_a_step_is_told_before_it_is_done(topology: Write, own_run_directory: Path) -> None:
    there: list[tuple[str, bool]] = []

    def note(step: Step) -> None:
        if isinstance(step, steps.MakeNamespace):
            there.append((step.node, any(own_run_directory.glob(f"*/ns/{step.node}"))))

    with Lab.up(topology(PAIR), on_step=note):
        assert there == [("a", False), ("b", False)]
    assert there[-1][0] == "b"


def test_plan_changes_nothing_and_asks_for_no_lab(topology: Write, own_run_directory: Path) -> None:
    well("plan", topology(EVERY_STEP))
    assert not own_run_directory.exists()


def test_plan_in_json_numbers_the_steps_and_names_their_nodes(topology: Write) -> None:
    told = well("plan", topology(PAIR), "-f", "json").json("plan")
    assert [each["number"] for each in told] == list(range(1, len(told) + 1))
    assert {each["node"] for each in told} == {"a", "b"}
