"""Variables in the text of a containerlab file, which are replaced before it is read as YAML.

    $NAME  ${NAME}         the value; as it stands where there is none, for a shell in the node
    ${NAME-x}  ${NAME=x}   x where there is no value
    ${NAME+x}              x where there is a value, else nothing
    ${NAME:-x} …           the same, an empty value counting as none
    $$                     one $

x is text without a `$`, or one `$OTHER`. An empty value counts as none in the first line, too. What looks like an expression
and is none of these is a fault; `$1`, `${1}` and `${#x}` are text. Source: containerlab's manual, "Environment variables", and
the library hellt/envsubst, which it gives the file to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lab.topology import limits
from lab.topology.places import Piece
from lab.topology.words import shown
from lab.topology.yaml12 import MOST_FAULTS
from lab.topology.yamlhints import Fault

MOST_PIECES = 200_000  # lines and values

_NAME = r"(?!_(?!\w))[^\W\d]\w*"
_EXPRESSION = re.compile(
    rf"\$\$|\$(?P<bare>{_NAME})|\$\{{(?P<name>{_NAME})(?:(?P<how>:?[-+=])(?P<other>[^}}\n$]*|\${_NAME}))?\}}"
    rf"|(?P<odd>\$\{{(?={_NAME}))"
)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_COMMENT = re.compile(r"[ \t]*#")
_PRIVATE = re.compile("[\U000f0000-\U0010ffff]")  # as in files: see lab.topology.source


@dataclass
class Expanded:
    """`text` with its variables replaced; `pieces` tell where each character comes from, none where nothing was replaced."""

    text: str = ""
    pieces: list[Piece] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Every variable that is named, each once."""
    faults: list[Fault] = field(default_factory=list)


def expand(text: str, values: Mapping[str, str]) -> Expanded:
    """`values` are those of --set and of the environment. Faults have indexes into `text`."""
    done, at = Expanded(), 0
    parts: list[str] = []
    for found in _EXPRESSION.finditer(text):
        value = _value(found, values, done)
        if value is not None:
            _lines(text, at, found.start(), parts, done.pieces)
            _add(value, found.start(), True, parts, done.pieces)
            at = found.end()
        if _too_much(found, done):
            break
    if at:
        _lines(text, at, len(text), parts, done.pieces)
    done.text = "".join(parts) if at else text
    done.names = list(dict.fromkeys(done.names))
    return done


def _too_much(found: re.Match[str], done: Expanded) -> bool:
    """No file needs as much; what it would cost is not tried."""
    if len(done.pieces) > MOST_PIECES or (done.pieces and done.pieces[-1].at > limits.OUTPUT):
        done.faults.append(Fault(found.start(), "far too much comes of the variables up to here"))
        return True
    return len(done.faults) >= MOST_FAULTS


def _lines(text: str, start: int, end: int, parts: list[str], pieces: list[Piece]) -> None:
    """The file's own text, line by line, as places want it."""
    for line in _LINE.findall(text, start, end):
        _add(line, start, False, parts, pieces)
        start += len(line)


def _add(text: str, origin: int, expression: bool, parts: list[str], pieces: list[Piece]) -> None:
    length = pieces[-1].at + len(parts[-1]) if pieces else 0
    pieces.append(Piece(length, origin, expression))
    parts.append(text)


def _value(found: re.Match[str], values: Mapping[str, str], done: Expanded) -> str | None:
    """What stands for an expression; None where it stays as it is."""
    if found[0] == "$$":
        return "$"
    if found["odd"]:
        done.faults.extend(_odd(found))
        return None
    name = found["bare"] or found["name"]
    done.names.append(name)
    if not found["how"] and not values.get(name):
        return None
    value = _chosen(name, found["how"] or "", found["other"] or "", values, done)
    if _PRIVATE.search(value):
        done.faults.append(Fault(found.start(), f"the value of the variable {name} holds a character that no file may"))
    return value


def _chosen(name: str, how: str, other: str, values: Mapping[str, str], done: Expanded) -> str:
    absent = not values.get(name) if how.startswith(":") else name not in values
    if how.endswith("+"):
        return "" if absent else _other(other, values, done)
    return _other(other, values, done) if how and absent else values.get(name, "")


def _other(other: str, values: Mapping[str, str], done: Expanded) -> str:
    if not other.startswith("$"):
        return other
    done.names.append(other[1:])
    return values.get(other[1:]) or other


def _odd(found: re.Match[str]) -> Iterator[Fault]:
    line_at = found.string.rfind("\n", 0, found.start()) + 1
    if not _COMMENT.match(found.string, line_at):
        said = found.string[found.start() : found.start() + 24].partition("\n")[0]
        hint = "write ${NAME}, ${NAME:-text} or ${NAME:+text}; a `${` that is meant for a shell in the node is written `$${`"
        yield Fault(found.start(), f"{shown(said)} begins no variable that containerlab knows", hint)
