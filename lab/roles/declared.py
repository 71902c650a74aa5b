"""What role.yaml may say: one frozen class a mapping. Words with a tag of Jinja2's are checked once they are rendered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from lab.model.file import Seconds
from lab.model.forms import Many, Written, blank
from lab.model.values import Argv, Directory, VariableName, Word, expression, listener, snmp_counter, wrong

_TAG = re.compile(r"\{[{%#]")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_PROGRAM = re.compile(r"[\w.+/-]+\Z")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def is_template(text: str) -> bool:
    return bool(_TAG.search(text))


def _unless_template(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda text: text if is_template(text) else check(text))


def _like(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise wrong(f"{text!r} cannot be the name of {what}")
        return text

    return AfterValidator(check)


class RoleReady(Written):
    """When a service of this role is ready; see `lab.model.file.Ready`."""

    listen: Annotated[tuple[Annotated[str, _unless_template(listener)], ...], Many] = ()
    file: str | None = None
    line: Annotated[str, _unless_template(expression)] | None = None
    answer: Argv | None = None
    counter: Annotated[str, _unless_template(snmp_counter)] | None = None


class RoleFile(Written):
    """role.yaml."""

    description: str
    package: Annotated[str, _like(_PACKAGE, "a Debian package")] | None = None
    program: Annotated[str, _like(_PROGRAM, "a program")] | None = None
    """What the package brings, where the command begins with another program, which then calls it."""
    command: Argv
    params: Any = None
    """Read by `lab.topology.params`, which a topology's are as well."""
    directories: Annotated[tuple[Directory, ...], Many] = ()
    owner: Annotated[str, _like(_USER, "a user")] | None = None
    env: dict[VariableName, Word] = Field(default_factory=dict)
    ready: Annotated[RoleReady, blank] = RoleReady()
    timeout: Seconds = 10.0
