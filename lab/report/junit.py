"""Checks that pytest did not make itself, in the JUnit file that it wrote: one more testsuite beside its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from lab.report.results import Check, Outcome

_TAGS = {Outcome.FAILED: "failure", Outcome.ERROR: "error", Outcome.SKIPPED: "skipped"}
_COUNTS = {"failures": Outcome.FAILED, "errors": Outcome.ERROR, "skipped": Outcome.SKIPPED}
_UNPRINTABLE = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\ufffd")  # no XML has these


def add(file: Path, name: str, checks: Sequence[Check]) -> None:
    """Adds a suite to a file that is there, or makes one."""
    root = ElementTree.parse(file).getroot() if file.exists() else Element("testsuites", name="lab")
    root.append(suite(name, checks))
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def write(file: Path, suites: Iterable[Element]) -> None:
    """A file of these suites alone."""
    root = Element("testsuites", name="lab")
    root.extend(suites)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def suite(name: str, checks: Sequence[Check]) -> Element:
    """As pytest writes one (xunit2)."""
    element = Element("testsuite", name=name, tests=str(len(checks)))
    for attribute, outcome in _COUNTS.items():
        element.set(attribute, str(sum(check.outcome is outcome for check in checks)))
    element.set("time", f"{sum(check.seconds for check in checks):.3f}")
    started = min((check.started for check in checks), default=0.0)
    element.set("timestamp", datetime.fromtimestamp(started, UTC).isoformat())
    for check in checks:
        _case(element, check)
    return element


def _case(element: Element, check: Check) -> None:
    case = SubElement(element, "testcase", classname=_text(check.scenario), name=_text(check.name), time=f"{check.seconds:.3f}")
    properties = SubElement(case, "properties")
    for name, value in (("scenario", check.scenario), ("title", check.title), ("kernel", check.kernel)):
        if value:
            SubElement(properties, "property", name=name, value=_text(value))
    if tag := _TAGS.get(check.outcome):
        SubElement(case, tag, message=_text(check.message)).text = _text(check.detail or check.message)


def _text(text: str) -> str:
    return text.translate(_UNPRINTABLE).encode("utf-8", "replace").decode()
