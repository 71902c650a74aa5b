"""Where the parameters' document ends and the topology begins, found by lines: before Jinja2 the rest is no YAML yet."""

from __future__ import annotations

import re

from lab.errors import Problem, TopologyError
from lab.topology.places import Sheet
from lab.topology.source import Source

_LINE_ENDS = re.compile("\r\n?")
_BLANK = r"(?:[ \t]*+(?:#[^\n]*+)?\n|%[^\n]*+\n)*+"  # possessive: what millions of blank lines cost is little
_HEAD = re.compile(rf"{_BLANK}(?:---[ \t]*(?:#[^\n]*)?\n{_BLANK})?(?P<params>params[ \t]*:(?=\s|\Z))")
# With what follows on its line only if that is a comment: `--- {nodes: …}` already is the topology.
_END = re.compile(r"^---(?=[ \t\n]|\Z)(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))?", re.MULTILINE)


def split(source: Source) -> tuple[Sheet, str]:
    """The file with the index of its topology, and the parameters' document, "" where there is none.

    Indexes into the latter are indexes into the file. TopologyError where that document has no end.
    """
    text = _LINE_ENDS.sub("\n", source.text)
    head = _HEAD.match(text)
    if not head:
        return Sheet(source.name, text), ""
    end = _END.search(text, head.end())
    if not end:
        place = Sheet(source.name, text).place(head.start("params"))
        raise TopologyError([Problem("the parameters have no end", "write a line `---` after them", place)])
    alone = end[0] != "---"
    return Sheet(source.name, text, end.end() if alone else end.start()), text[: end.start()]
