"""How much memory a large lab takes, with no more open files than a usual shell allows: see footprint.py."""

from __future__ import annotations

import json
import sys

from kit import HERE, Kit
from rows import Figure, Goal, bench, value_at_most
from star import written_out
from subjects import run

NODES = 1000
BUSY = 100
LIMIT = value_at_most(120)
FOOTPRINT = HERE / "footprint.py"


@bench(
    Goal(f"summed PSS, {NODES} nodes, 1024 files: highest while `lab up` works", "MB", LIMIT),
    Goal(f"summed PSS, {NODES} nodes, 1024 files: all processes of the living lab", "MB", LIMIT),
    Goal(f"summed PSS, {NODES} nodes, 1024 files: highest while `lab down` works", "MB", LIMIT),
    Goal(f"summed PSS, {NODES} nodes, 1024 files: highest of a Python process that makes and holds the lab", "MB", LIMIT),
    Goal(f"summed PSS, {BUSY} nodes, each of which has run a command: all processes", "MB"),
)
def memory(kit: Kit) -> list[Figure]:
    """Every process that descends from the command is counted, also those that outlive it."""
    file, small = kit.file("memory.yaml", written_out(NODES - 1)), kit.file("busy.yaml", written_out(BUSY - 1))
    name = kit.name("memory")
    with kit.watcher() as watcher:
        phases = [
            *_measured("commands", *kit.lab(), str(file), name),
            *_measured("held", *kit.engine(file, name)),
            *_measured("held", *kit.engine(small, name, "true")),
        ]
        watcher.wait()
    return [Figure(phase["pss_mb"], None, _note(phase)) for phase in phases]


def _measured(*arguments: str) -> list[dict[str, float]]:
    phases: list[dict[str, float]] = json.loads(run([sys.executable, str(FOOTPRINT), *arguments]))
    return phases


def _note(phase: dict[str, float]) -> str:
    return f"{phase['processes']:.0f} processes, at most {phase['files']:.0f} open files in one"
