"""What may be written where: each shape tells what is wrong with a value, and which parts of it are not usable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lab.containerlab.placed import Findings, Placed
from lab.topology.words import did_you_mean, shown

Shape = Callable[[Placed, str, Findings], Placed | None]
"""A value as written, what it is for, and what is found -> the value without what is wrong, None where nothing is left."""

_TRUTHS = {**dict.fromkeys(("true", "yes", "on", "y"), True), **dict.fromkeys(("false", "no", "off", "n"), False)}
_WHOLE = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]*)?\Z|\.[0-9]+\Z", re.ASCII)


def anything(value: Placed, what: str, findings: Findings) -> Placed | None:
    return value


def text(value: Placed, what: str, findings: Findings) -> Placed | None:
    if isinstance(value.value, str):
        return value
    return _wrong(value, what, "a text", findings)


def truth(value: Placed, what: str, findings: Findings) -> Placed | None:
    """`value` is then a bool; YAML 1.1 has more words for these, and containerlab knows them."""
    found = _TRUTHS.get(value.value.lower()) if isinstance(value.value, str) else None
    return value.like(found) if found is not None else _wrong(value, what, "true or false", findings)


def whole(value: Placed, what: str, findings: Findings) -> Placed | None:
    """`value` is then an int."""
    if isinstance(value.value, str) and _WHOLE.match(value.value):
        return value.like(int(value.value))
    return _wrong(value, what, "a whole number", findings)


def number(value: Placed, what: str, findings: Findings) -> Placed | None:
    """`value` is then an int or a float."""
    if isinstance(value.value, str) and _NUMBER.match(value.value):
        return value.like(float(value.value) if "." in value.value else int(value.value))
    return _wrong(value, what, "a number", findings)


def texts(value: Placed, what: str, findings: Findings) -> Placed | None:
    if not isinstance(value.value, list):
        return _wrong(value, what, "a list of texts", findings)
    return value.listing(each for each in value.each() if text(each, f"each of {what}", findings))


def by_name(value: Placed, what: str, findings: Findings) -> Placed | None:
    """A mapping to texts; null is an empty one."""
    if not isinstance(value.value, dict):
        return _wrong(value, what, "a mapping", findings)
    given = {key: each.like("") if each.value is None else each for key, each in value.items()}
    return value.mapping({key: each for key, each in given.items() if text(each, f"{key} of {what}", findings)})


def known(value: Placed, what: str, keys: Mapping[str, Shape], findings: Findings) -> dict[str, Placed]:
    """What a mapping has for `keys`, each in its shape; null is as if it were not there. Any other key is wrong."""
    if not isinstance(value.value, dict):
        if value.value is not None:
            _wrong(value, what, "a mapping", findings)
        return {}
    found: dict[str, Placed] = {}
    for key, each in value.items():
        if key not in keys:
            hint = did_you_mean(key, keys, "known here: ")
            findings.wrong(each, f"{what}: unknown key {shown(key)}", hint, key=True)
        elif each.value is not None and (well := keys[key](each, f"{key} of {what}", findings)):
            found[key] = well
    return found


def _wrong(value: Placed, what: str, wanted: str, findings: Findings) -> Placed | None:
    written = "nothing" if value.value is None else shown(value.value)
    findings.wrong(value, f"{what} is {written}: {wanted} is wanted here")
    return None
