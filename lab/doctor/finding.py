"""What `lab doctor` says: sentences with a key of their own, and findings, which are sentences about this host. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    LACKING = "lacking"


class Section(StrEnum):
    """In the order in which they are shown."""

    PRIVILEGES = "privileges"
    KERNEL = "kernel"
    PROGRAMS = "programs"
    SCENARIOS = "scenarios"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row. `key` is the sentence's and stays the same for scripts; `follows` is what it means for labs and `remedy` what to
    do, both empty where there is nothing to say. With `blocks` no lab at all can run for the caller."""

    section: Section
    name: str
    key: str
    verdict: Verdict
    found: str
    follows: str = ""
    remedy: str = ""
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """A template of findings: `found`, `follows` and `remedy` have holes as for str.format."""

    key: str
    verdict: Verdict
    found: str
    follows: str = ""
    remedy: str = ""
    blocks: bool = False

    def about(self, section: Section, name: str, /, **holes: object) -> Finding:
        texts = (text.format(**holes) for text in (self.found, self.follows, self.remedy))
        found, follows, remedy = texts
        return Finding(section, name, self.key, self.verdict, found, follows, remedy, self.blocks)

    def instead(self, verdict: Verdict, blocks: bool = False) -> Sentence:
        """The same words, judged otherwise."""
        return replace(self, verdict=verdict, blocks=blocks)


def ok(key: str, found: str, follows: str = "") -> Sentence:
    return Sentence(key, Verdict.OK, found, follows)


def note(key: str, found: str, follows: str, remedy: str = "") -> Sentence:
    return Sentence(key, Verdict.NOTE, found, follows, remedy)


def lacking(key: str, found: str, follows: str, remedy: str, blocks: bool = False) -> Sentence:
    return Sentence(key, Verdict.LACKING, found, follows, remedy, blocks)
