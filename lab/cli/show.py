"""How results look: a table or one versioned JSON envelope on stdout, words on stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

ENVELOPE_VERSION = 1


def envelope(kind: str, data: Any) -> None:
    """Prints {"version": 1, "kind": …, "data": …}."""
    print(json.dumps({"version": ENVELOPE_VERSION, "kind": kind, "data": data}, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table without borders; wide where it is not a terminal, so that nothing is cut.

    Bold and colours on a terminal and with FORCE_COLOR; not an escape anywhere else, nor with NO_COLOR."""
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(str, row))
    console = Console(
        width=None if sys.stdout.isatty() else 1000,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(made)


def say(text: str) -> None:
    """A word to the user, on stderr."""
    print(text, file=sys.stderr, flush=True)
