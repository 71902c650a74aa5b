"""A picture as text for Graphviz: what is drawn, and in which direction; where it is drawn is Graphviz's matter.

Each interface is a small plate of its own between its node and its cable, so that the layout keeps room for addresses and
no two meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from lab.drawing.order import directed
from lab.drawing.picture import Box, Device, End, Picture

SANS, MONO = "Helvetica,Arial,sans-serif", "Courier"
ICONS = {"host": "\ue000", "router": "\ue001", "switch": "\ue002", "ovs": "\ue003", "container": "\ue004"}
"""Kind -> the character, of those that nobody else uses, that holds the place of its icon."""
_SWITCH, _A_PORT = 2.2, 1.55  # inches: the least width of a switch, and what each port adds
_WIDEST = 40.0
_SWITCHES = {"switch": "#475569", "ovs": "#1f6f63"}
_HOSTS = {"host": ("#3b6fd4", "#eaf1fd"), "router": ("#c9741c", "#fdf0e0"), "container": ("#8250c4", "#f3ecfb")}
_AT_A_NODE, _FREE = 'minlen="1", weight="8"', 'minlen="2", weight="1"'  # a plate stays close to its node


@dataclass(frozen=True, slots=True)
class Text:
    """`source` for dot(1); `titles`: what Graphviz calls a node or an edge -> what a reader calls it."""

    source: str
    titles: Mapping[str, str]


def render(picture: Picture) -> Text:
    """The graph. No text of the user's is ever a name of it: names are numbers, and labels are escaped."""
    numbers = {box.name: f"n{at}" for at, box in enumerate(picture.boxes)}
    titles = {numbers[box.name]: f"{box.kind} {box.name}" for box in picture.boxes}
    lines = [
        "graph lab {",
        '  graph [bgcolor="transparent", rankdir="TB", ranksep="0.16", nodesep="0.22", pad="0.15", splines="line"]',
        f'  node [shape="plain", fontname="{SANS}", fontsize="12"]',
        '  edge [color="#6f7780", penwidth="1.6"]',
        *(f"  {numbers[box.name]} {_node(box, picture)}" for box in picture.boxes),
    ]
    for at, (first, second) in enumerate(directed(picture)):
        lines += (f"  {line}" for line in _cable(at, first, second, picture, numbers, titles))
    return Text("\n".join([*lines, "}"]) + "\n", titles)


def _node(box: Box, picture: Picture) -> str:
    if box.switches:
        width, colour = min(_WIDEST, max(_SWITCH, _A_PORT * _widest_side(box, picture))), _SWITCHES[box.kind]
        return (
            f'[shape="box", style="filled,rounded", class="switch", width="{width:.2f}", height="0.36", margin="0.1,0.02",'
            f' color="{colour}", fillcolor="{colour}", fontcolor="#ffffff", label={_table(_switch_rows(box))}]'
        )
    colour, fill = _HOSTS[box.kind]
    shape = 'shape="box", style="filled,rounded", margin="0.14,0.07"'
    label = _table(_node_rows(box))
    return f'[{shape}, class="{box.kind}", penwidth="1.6", color="{colour}", fillcolor="{fill}", label={label}]'


def _widest_side(box: Box, picture: Picture) -> int:
    ends = [(first.node, second.node) for first, second in directed(picture)]
    return max(sum(first == box.name for first, _ in ends), sum(second == box.name for _, second in ends))


def _table(rows: Iterator[str]) -> str:
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{"".join(rows)}</TABLE>>'


def _switch_rows(box: Box) -> Iterator[str]:
    yield f"<TR>{_icon(box)}<TD>{_font(box.name, 12, '#ffffff', bold=True)}</TD></TR>"
    for device in box.devices:
        yield f'<TR><TD COLSPAN="2">{_font(_words(device), 9, "#ffffff", MONO)}</TD></TR>'


def _node_rows(box: Box) -> Iterator[str]:
    yield f"<TR>{_icon(box)}<TD>{_font(box.name, 13, '#16202e', bold=True)}</TD></TR>"
    if box.services:
        yield f'<TR><TD COLSPAN="2">{_font(", ".join(box.services), 10, "#44505e")}</TD></TR>'
    for device in box.devices:
        yield f'<TR><TD COLSPAN="2">{_font(_words(device), 9, _ink(device), MONO)}</TD></TR>'


def _icon(box: Box) -> str:
    return f'<TD FIXEDSIZE="TRUE" WIDTH="24" HEIGHT="18">{_font(ICONS[box.kind], 10, "#000000", keep=True)}</TD>'


def _cable(
    at: int, first: End, second: End, picture: Picture, numbers: Mapping[str, str], titles: dict[str, str]
) -> Iterator[str]:
    """From the upper node over both plates to the lower one."""
    sides: tuple[list[str], ...] = ([numbers[first.node]], [numbers[second.node]])
    for names, side, end in zip(sides, "ab", (first, second), strict=True):
        if _has_plate(end, picture):
            names.append(f"p{at}{side}")
            titles[names[-1]] = str(end)
            yield f"{names[-1]} {_plate(end)}"
    works = first.device.works and second.device.works
    style = 'class="cable"' if works else 'class="cable down", color="#d03b3b", style="dashed"'
    upper, lower = sides[0], sides[1][::-1]
    for one, other in [*pairwise(upper), (upper[-1], lower[0]), *pairwise(lower)]:
        titles[f"{one}--{other}"] = f"{first} — {second}{'' if works else ', down'}"
        length = _FREE if (one, other) == (upper[-1], lower[0]) else _AT_A_NODE
        yield f"{one} -- {other} [{style}, {length}]"


def _has_plate(end: End, picture: Picture) -> bool:
    """A port of a switch has one only where there is something to tell."""
    switch = next(box.switches for box in picture.boxes if box.name == end.node)
    device = end.device
    return not switch or bool(device.about or device.addresses or end.above) or not device.works


def _plate(end: End) -> str:
    works = end.device.works
    colour, fill = ("#9aa4b2", "#ffffff") if works else ("#d03b3b", "#fdecec")
    kind = "plate" if works else "plate down"
    shape = 'shape="box", style="filled,rounded", margin="0.08,0.035", height="0.1", width="0.3"'
    label = _table(_plate_rows(end))
    return f'[{shape}, class="{kind}", color="{colour}", fillcolor="{fill}", penwidth="0.9", label={label}]'


def _plate_rows(end: End) -> Iterator[str]:
    for at, device in enumerate((end.device, *end.above)):
        yield "<HR/>" if at else ""
        state = "" if device.works else f": {device.state}"
        yield f"<TR><TD>{_font(device.name + state, 10, _ink(device), bold=True)}</TD></TR>"
        for about in device.about:
            yield f"<TR><TD>{_font(about, 9, '#5a6675')}</TD></TR>"
        for address in device.addresses:
            yield f"<TR><TD>{_font(address, 9, '#16202e', MONO)}</TD></TR>"


def _words(device: Device) -> str:
    state = () if device.works else (device.state,)
    return " ".join([device.name, *state, *device.about, *device.addresses])


def _ink(device: Device) -> str:
    return "#16202e" if device.works else "#a61b1b"


def _font(text: str, size: int, colour: str, face: str = SANS, bold: bool = False, keep: bool = False) -> str:
    """`keep`: the text is ours. Any other loses what cannot be printed, our icons' characters among them."""
    plain = text if keep else printable(text)
    label = f'<FONT FACE="{face}" POINT-SIZE="{size}" COLOR="{colour}">{escape(plain)}</FONT>'
    return f"<B>{label}</B>" if bold else label


def printable(text: str) -> str:
    """Without what cannot be printed, nor be in XML."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
