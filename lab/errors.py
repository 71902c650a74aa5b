"""Every way in which `lab` fails on purpose; imports nothing of ours.

    LabError                what the command line turns into an exit status
    ├── TopologyError   2   the user's file or flags: all problems at once, each with its place and what to write instead
    ├── HostError       3   the host cannot: what is missing, and the command that would bring it
    ├── StepError       3   a step of the plan failed: the step in words, the node, the kernel's errno and extended ack
    └── TeardownError   3   every undo was tried; these failed

Anything else that reaches the command line is a fault of ours (70, with its traceback). A failed check of a
scenario is a pytest failure with its evidence, none of these.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's own file: line and column count from 1. `rendered` is the line as Jinja2 left it, given
    where an expression stands before the place and the column is the expression's."""

    file: str
    line: int
    column: int
    rendered: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to write instead."""

    message: str
    hint: str | None = None
    place: Place | None = None

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        rendered = f"\n    rendered as: {self.place.rendered}" if self.place and self.place.rendered else ""
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{where}{self.message}{rendered}{hint}"


class LabError(Exception):
    """The root of the tree; `exit_status` is what the command line ends with."""

    exit_status = 70


class ProblemsError(LabError):
    """A failure that is a list of problems."""

    def __init__(self, problems: Iterable[Problem] | str, hint: str | None = None) -> None:
        self.problems = (Problem(problems, hint),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class TopologyError(ProblemsError):
    """The user's file or flags are wrong; nothing was made."""

    exit_status = 2


class HostError(ProblemsError):
    """This host cannot: a privilege, a program, a kernel feature or room is missing."""

    exit_status = 3


class StepError(LabError):
    """A step of the plan failed and everything made so far was undone.

    `code` is the kernel's errno (positive, 0 where there is none); `extack` its extended acknowledgement.
    """

    exit_status = 3

    def __init__(self, step: str, node: str | None, code: int = 0, extack: str | None = None, why: str = "") -> None:
        self.step, self.node, self.code, self.extack = step, node, code, extack
        name = f"{_errno.errorcode.get(code, code)}: {os.strerror(code)}" if code else ""
        said = "; ".join(part for part in (name, f"the kernel says: {extack}" if extack else "", why) if part)
        where = f" on node {node}" if node else ""
        super().__init__(f"step failed{where}: {step}\n    {said}" if said else f"step failed{where}: {step}")


class TeardownError(LabError):
    """Every undo was tried; `failures` are those that failed, in words."""

    exit_status = 3

    def __init__(self, lab: str, failures: Iterable[str]) -> None:
        self.lab, self.failures = lab, tuple(failures)
        super().__init__(f"lab {lab} could not be undone whole:" + "".join(f"\n    {line}" for line in self.failures))
