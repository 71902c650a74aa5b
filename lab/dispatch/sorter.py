"""A pytest plugin: takes the checks out of a run whose kernel features lack here, so that they can be sent elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import pytest_plugin


@dataclass(frozen=True, slots=True)
class Sent:
    """A check to be made elsewhere: how `lab run` names it, what a report says of it, what it needs and this kernel lacks."""

    target: str
    scenario: str
    name: str
    title: str
    needs: frozenset[str]
    lacks: frozenset[str]


class Sorter:
    """`sent` are those taken out, in the order of the collection; `params` the parameters that their topologies have."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.params: frozenset[str] = frozenset()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Once everything has looked at what was selected: parameters and marks count wherever a check is made."""
        if session.testsfailed:
            return
        needs = {item: pytest_plugin.needs_of(item) for item in session.items}
        lacking = _lacking(frozenset().union(*needs.values()))
        away = [item for item in session.items if needs[item] & lacking]
        self.sent = list(_sent(away, needs, lacking))
        self.params = frozenset().union(*map(pytest_plugin.known_params, away))
        session.items[:] = [item for item in session.items if not needs[item] & lacking]


def _lacking(needs: frozenset[str]) -> frozenset[str]:
    """Nothing where it cannot be asked: then the checks say so themselves."""
    from lab.substrate import features

    with contextlib.suppress(OSError):
        return frozenset(features.missing(needs))
    return frozenset()


def _sent(items: list[pytest.Item], needs: dict[pytest.Item, frozenset[str]], lacking: frozenset[str]) -> Iterator[Sent]:
    for item in items:
        about = dict(item.user_properties)
        name = item.nodeid.partition("::")[2]
        scenario, title = str(about["scenario"]), str(about["title"])
        yield Sent(f"{item.path}::{name}", scenario, name, title, needs[item], needs[item] & lacking)
