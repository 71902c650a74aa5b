"""A picture as Mermaid's text (a flowchart), which many places that show Markdown draw by themselves."""

from __future__ import annotations

from collections.abc import Iterator

from lab.drawing.order import directed
from lab.drawing.picture import Box, Device, End, Picture

_PLAIN = " .:/,_-+@%()±"
_SHAPES = {"host": '["{}"]', "router": '{{{{"{}"}}}}', "switch": '[["{}"]]', "ovs": '[["{}"]]', "container": '("{}")'}
_STYLES = {
    "host": "fill:#eaf1fd,stroke:#3b6fd4,color:#16233b",
    "router": "fill:#fdf0e0,stroke:#c9741c,color:#3b2610",
    "switch": "fill:#475569,stroke:#475569,color:#ffffff",
    "ovs": "fill:#1f6f63,stroke:#1f6f63,color:#ffffff",
    "container": "fill:#f3ecfb,stroke:#8250c4,color:#2a1740",
}
_DOWN = "stroke:#d03b3b,stroke-dasharray:5 4"


def render(picture: Picture) -> str:
    """The whole text, with a line break at its end. Whatever a name contains is shown, and is never syntax."""
    return "\n".join(["flowchart TB", *(f"  {line}" for line in _lines(picture))]) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    numbers = {box.name: f"n{at}" for at, box in enumerate(picture.boxes)}
    for box in picture.boxes:
        yield f"{numbers[box.name]}{_SHAPES[box.kind].format('<br/>'.join(_told_of(box)))}:::{box.kind}"
    for cable, (upper, lower) in zip(picture.cables, directed(picture), strict=True):
        ends = [told for end in (upper, lower) if (told := _told_at(end, picture))]
        line = "---" if cable.works else "-.-"
        label = f'|"{"<br/>".join(ends)}"|' if ends else ""
        yield f"{numbers[upper.node]} {line}{label} {numbers[lower.node]}"
    for kind in dict.fromkeys(box.kind for box in picture.boxes):
        yield f"classDef {kind} {_STYLES[kind]}"
    if down := [str(at) for at, cable in enumerate(picture.cables) if not cable.works]:
        yield f"linkStyle {','.join(down)} {_DOWN}"


def _told_of(box: Box) -> Iterator[str]:
    yield _text(box.name)
    if box.services:
        yield _text(", ".join(box.services))
    for device in box.devices:
        yield _told(device)


def _told_at(end: End, picture: Picture) -> str:
    """Nothing of a port of a switch that nobody said anything of."""
    switches = {box.name for box in picture.boxes if box.switches}
    device = end.device
    if end.node in switches and device.works and not (device.about or device.addresses or end.above):
        return ""
    return "<br/>".join([f"{_text(end.node)}: {_told(device)}", *map(_told, end.above)])


def _told(device: Device) -> str:
    state = () if device.works else (device.state,)
    return _text(" ".join([device.name, *state, *device.about, *device.addresses]))


def _text(text: str) -> str:
    """Everything that could be syntax as an entity of Mermaid's, #NUMBER;."""
    return "".join(each if (each.isascii() and each.isalnum()) or each in _PLAIN else f"#{ord(each)};" for each in text)
