"""A strict reader of JUnit files: elements, attributes and their types as the schema of Jenkins' xUnit plugin has them, against
which pytest tests its own xunit2 (junit-10.xsd), and counts that are those of the cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_COUNT = re.compile(r"\d+")
_SECONDS = re.compile(r"\d+(\.\d{1,3})?")
_ANY = re.compile(r"(?s).*")
_ATTRIBUTES = {
    "testsuites": {"name": _ANY, "time": _SECONDS, "tests": _COUNT, "failures": _COUNT, "disabled": _COUNT, "errors": _COUNT},
    "testsuite": {
        **dict.fromkeys(("name", "hostname", "id", "package", "timestamp"), _ANY),
        **dict.fromkeys(("tests", "failures", "errors", "skipped"), _COUNT),
        "time": _SECONDS,
    },
    "testcase": {"name": _ANY, "classname": _ANY, "group": _ANY, "time": _SECONDS},
    "properties": {},
    "property": {"name": _ANY, "value": _ANY},
    **{tag: {"type": _ANY, "message": _ANY} for tag in ("failure", "error", "skipped")},
    "system-out": {},
    "system-err": {},
}
_REQUIRED = {
    "testsuite": ("name", "tests", "failures", "errors"),
    "testcase": ("name", "classname"),
    "property": ("name", "value"),
}
_INSIDE = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "testcase": {"properties", "failure", "error", "skipped", "system-out", "system-err"},
    "properties": {"property"},
}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def read(file: Path) -> dict[str, str]:
    """Test -> held, failure, error or skipped. Raises AssertionError where the schema does not have it so."""
    root = ElementTree.parse(file).getroot()
    assert root.tag == "testsuites"
    _check(root)
    for suite in root:
        _counts(suite)
    return {str(case.get("name")): next(_tags(case), "held") for case in root.iter("testcase")}


def _tags(case: Element) -> Iterator[str]:
    return (each.tag for each in case if each.tag in _COUNTED.values())


def _check(element: Element) -> None:
    known = _ATTRIBUTES[element.tag]
    for name, value in element.attrib.items():
        assert name in known, f"{element.tag} has no attribute {name}"
        assert known[name].fullmatch(value), f"{element.tag} {name}={value!r}"
    assert set(_REQUIRED.get(element.tag, ())) <= element.attrib.keys(), f"{element.tag} {element.attrib}"
    if element.tag == "testsuite" and "timestamp" in element.attrib:
        assert datetime.fromisoformat(element.attrib["timestamp"])
    for each in element:
        assert each.tag in _INSIDE.get(element.tag, ()), f"{each.tag} in {element.tag}"
        _check(each)


def _counts(suite: Element) -> None:
    """A case that failed and whose teardown failed too is two elements; a schema has no word about counts, readers have."""
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len({(case.get("classname"), case.get("name")) for case in cases})
    for attribute, tag in _COUNTED.items():
        assert int(suite.get(attribute, "0")) == sum(each.tag == tag for case in cases for each in case), attribute
