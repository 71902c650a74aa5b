"""The benchmark's own instruments: rows that keep their word, and a watcher that says "gone" when it is so, not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """A module beside this one, which is no package: bench.py runs as a program."""
    spec = spec_from_file_location(f"lab_bench_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gone, rows = _load("gone"), _load("rows")


@pytest.mark.parametrize(
    ("target", "value", "reference", "holds"),
    [
        (rows.ratio_at_most(1.5), 3.0, 2.0, True),
        (rows.ratio_at_most(1.5), 3.1, 2.0, False),
        (rows.ratio_at_most(1.5), 3.0, None, False),
        (rows.value_at_most(120), 120.0, None, True),
        (rows.value_at_most(120), 120.1, None, False),
        (rows.excess_at_most(0.06), 0.07, 0.02, True),
        (rows.excess_at_most(0.06), 0.09, 0.02, False),
        (None, 9.0, 1.0, None),
    ],
)
def test_a_row_says_whether_its_target_holds(target: Any, value: float, reference: float | None, holds: bool | None) -> None:
    benchmark = rows.Benchmark((rows.Goal("x", "s", target),), lambda kit: [rows.Figure(value, reference)])
    assert [row.holds for row in benchmark.rows(None)] == [holds]


def test_what_cannot_be_measured_stays_in_the_table_with_the_command_that_helps() -> None:
    def measure(kit: object) -> list[Any]:
        raise rows.CannotMeasureError("apt install mininet")

    benchmark = rows.Benchmark((rows.Goal("x", "s", rows.value_at_most(1)), rows.Goal("y", "s")), measure)
    told = [(row.name, row.value, row.holds, row.note) for row in benchmark.rows(None)]
    note = "cannot be measured: apt install mininet"
    assert told == [("x", None, None, note), ("y", None, None, note)]


def test_what_breaks_while_it_is_measured_misses_its_target() -> None:
    def measure(kit: object) -> list[Any]:
        raise rows.BrokenError("lab up: no such file")

    (row,) = rows.Benchmark((rows.Goal("x", "s", rows.value_at_most(1)),), measure).rows(None)
    assert (row.value, row.holds, row.note) == (None, False, "failed: lab up: no such file")


@pytest.fixture
def watcher() -> Iterator[Any]:
    with gone.Watcher() as made:
        yield made


@pytest.mark.root
def test_a_namespace_that_is_referred_to_is_still_there(watcher: Any) -> None:
    descriptor = gone._in_new_namespace(gone._own_namespace)
    try:
        assert watcher.watch([f"/proc/self/fd/{descriptor}"]) == 1
        with pytest.raises(gone.StillThereError, match="1 watched namespaces are still referred to"):
            watcher.wait(deadline=0.05)
    finally:
        os.close(descriptor)


@pytest.mark.root
def test_a_namespace_whose_last_reference_is_dropped_is_gone_soon(watcher: Any) -> None:
    descriptor = gone._in_new_namespace(gone._own_namespace)
    watcher.watch([f"/proc/self/fd/{descriptor}"])
    os.close(descriptor)
    watcher.wait()
    assert watcher.alive() == 0


@pytest.mark.root
def test_watching_something_else_is_refused_by_its_path(watcher: Any) -> None:
    with pytest.raises(OSError, match="/proc/self/ns/mnt"):
        watcher.watch(["/proc/self/ns/mnt"])
