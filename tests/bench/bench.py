#!/usr/bin/env python3
"""Measures `lab` against what it is compared with, in one run; prints a table and writes build/bench.json.

    bench.py [--only WORD]... [--quick] [--strict] [--output FILE]

Each row is a ratio of two medians taken alternately in the same call: what a machine or a moment does to one side it
does to the other. build/bench.json is a list of {name, value, unit, reference, ratio, target, holds, note} in the order
of the table; `name` says what is measured and, after the semicolon, what the reference is. `holds` is null where there is
no target or where this machine cannot measure it; `note` then says what to install.

A missed target is told and changes nothing (1 with --strict); what breaks while it is measured ends with 1 as well.
A new row is a function with @bench (rows.py) in a module named in MODULES.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from kit import Kit
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rows import REGISTER, Row

PLAIN = ("bench_create", "bench_commands", "bench_mininet", "bench_start", "bench_memory")
MODULES = (*PLAIN, "bench_containers", "bench_guests")
BUILD = Path(__file__).resolve().parents[2] / "build"


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    for module in MODULES:
        import_module(module)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything made is undone
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed lab has its modules compiled
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as scratch:
        rows = _measured(Kit(Path(scratch), BUILD / "bench", options.quick), options.only)
    if not rows:
        print(f"bench: no row matches {', '.join(options.only)}", file=sys.stderr)
        return 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    _print(rows)
    broken = any(row.value is None and row.holds is False for row in rows)
    missed = any(row.holds is False for row in rows)
    return int(broken or (options.strict and missed))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="measures lab against the floor, Mininet and Python itself")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="what is measured together with a row whose name has this word",
    )
    parser.add_argument("--quick", action="store_true", help="one repetition of everything: for trying, not for telling")
    parser.add_argument("--strict", action="store_true", help="end with 1 where a target is missed")
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", metavar="FILE")
    return parser.parse_args(argv)


def _measured(kit: Kit, only: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for benchmark in REGISTER:
        if benchmark.matches(only):
            print(f"bench: {benchmark.measure.__name__} ...", file=sys.stderr, flush=True)
            rows += benchmark.rows(kit)
    return rows


def _print(rows: Sequence[Row]) -> None:
    table = Table("what; against what")
    for column in ("value", "reference", "ratio", "target", "holds"):
        table.add_column(column, justify="right", no_wrap=True)
    told = None
    for row in rows:
        note = f"\n[dim]{escape(row.note)}[/]" if row.note and row.note != told else ""
        told = row.note
        figures = _figure(row.value, row.unit), _figure(row.reference, row.unit), _figure(row.ratio, "x")
        holds = {True: "[green]yes[/]", False: "[bold red]no[/]", None: ""}[row.holds]
        table.add_row(escape(row.name) + note, *figures, row.target or "", holds)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _figure(number: float | None, unit: str) -> str:
    return "" if number is None else f"{number:.3g} {unit}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
