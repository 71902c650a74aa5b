"""A picture as SVG: laid out by Graphviz's dot(1), then given icons, names to hover over, and colours for dark backgrounds.

Nothing in it has an id and nothing is fetched, so that a page may have many of them inside.
"""

from __future__ import annotations

import re
import subprocess
from xml.etree import ElementTree

from lab.drawing import dot
from lab.drawing.picture import Picture
from lab.errors import HostError

_SVG = "http://www.w3.org/2000/svg"
_SECONDS = 60.0
_ROUND = 12  # points that the corners of a box take
_MONO = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
_STYLE = """
.lab-picture .cable path { stroke-linecap: round }
@media (prefers-color-scheme: dark) {
  .lab-picture .cable path { stroke: #93a0b0 }
  .lab-picture .down path { stroke: #ff7b72 }
  .lab-picture .host > path { fill: #1c2b47; stroke: #79a3f5 }
  .lab-picture .router > path { fill: #3d2a14; stroke: #eba04d }
  .lab-picture .plate > path { fill: #161d27; stroke: #55606e }
  .lab-picture .plate.down > path { fill: #3b1618; stroke: #ff7b72 }
  .lab-picture .host text, .lab-picture .router text, .lab-picture .plate text { fill: #e4eaf2 }
  .lab-picture .plate.down text { fill: #ffb3ae }
}
"""
_ICONS = {
    "host": "M-7,-7h14v10h-14z M-2.5,3v3 M2.5,3v3 M-5,6h10",
    "router": "M-8,0a8,5 0 1,0 16,0a8,5 0 1,0 -16,0 M-5,0h3.4 M-3,-1.4l1.6,1.4l-1.6,1.4 M5,0h-3.4 M3,-1.4l-1.6,1.4l1.6,1.4",
    "switch": "M-8,-2.5h14 M3.2,-5.2l3,2.7l-3,2.7 M8,3h-14 M-3.2,0.3l-3,2.7l3,2.7",
    "container": "M-8,-5h16v10h-16z M-4.5,-2v4 M-1.5,-2v4 M1.5,-2v4 M4.5,-2v4",
    "ovs": "M-8,-3.5h14 M3.2,-6.2l3,2.7l-3,2.7 M-8,0.2h16 M8,4h-14 M-3.2,1.3l-3,2.7l3,2.7",
}
"""Kind -> the strokes of its icon, around (0, 0)."""
_COLOURS = {"host": "#3b6fd4", "router": "#c9741c", "switch": "#ffffff", "ovs": "#ffffff", "container": "#8250c4"}


def render(picture: Picture) -> str:
    """The whole document. Raises HostError where Graphviz is missing."""
    text = dot.render(picture)
    return _finished(_laid_out(text.source), text, picture.name)


def _laid_out(source: str) -> str:
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=source.encode(), capture_output=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        hint = "apt-get install graphviz; or take --format mermaid, which needs nothing"
        raise HostError("drawing needs Graphviz, and this host has no program 'dot'", hint) from None
    except subprocess.TimeoutExpired:
        hint = "draw a smaller topology, or take --format mermaid"
        raise HostError(f"Graphviz found no layout within {_SECONDS:g} s", hint) from None
    if done.returncode:
        raise HostError(f"Graphviz could not draw it: {done.stderr.decode(errors='replace').strip()}", "take --format mermaid")
    return done.stdout.decode()


def _finished(drawn: str, text: dot.Text, name: str) -> str:
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    _hang_from_bars(root)
    for element in root.iter():
        element.attrib.pop("id", None)
        if element.attrib.get("font-family", "").startswith(dot.MONO):
            element.set("font-family", _MONO)
        if element.tag == f"{{{_SVG}}}title":
            element.text = dot.printable(text.titles.get(element.text or "", name))
    for parent in list(root.iter()):
        _with_icons(parent)
    root.set("class", "lab-picture")
    root.set("role", "img")
    root.set("aria-label", f"the network {dot.printable(name)}")
    style = ElementTree.Element(f"{{{_SVG}}}style")
    style.text = _STYLE
    root.insert(0, style)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _hang_from_bars(root: ElementTree.Element) -> None:
    """Cables meet a switch where they come from and not all in its middle: dot(1) knows no node that is met along a side."""
    shapes = {_title(group): (group, _extent(group)) for group in root.iter(f"{{{_SVG}}}g") if _title(group)}
    for title, (group, _) in shapes.items():
        one, dashes, other = title.partition("--")
        if dashes:
            for bar, end in ((one, other), (other, one)):
                if "switch" in shapes[bar][0].get("class", "") and "switch" not in shapes[end][0].get("class", ""):
                    _drop(group, shapes[bar][1], shapes[end][1])


Extent = tuple[float, float, float, float]


def _drop(cable: ElementTree.Element, bar: Extent, end: Extent) -> None:
    """Straight down, or up, as far as the bar is wide."""
    left, top, right, bottom = bar
    middle, below = (end[0] + end[2]) / 2, end[1] > bottom
    x, near, far = min(max(middle, left + _ROUND), right - _ROUND), (bottom if below else top), (end[1] if below else end[3])
    path = cable.find(f"{{{_SVG}}}path")
    if path is not None:
        path.set("d", f"M{middle:g},{far:g}L{x:g},{near:g}")


def _title(group: ElementTree.Element) -> str:
    return group.findtext(f"{{{_SVG}}}title") or ""


def _extent(group: ElementTree.Element) -> Extent:
    """Left, top, right, bottom of its shape, which Graphviz gives as points in pairs."""
    shape = next((each for each in group if each.tag in (f"{{{_SVG}}}path", f"{{{_SVG}}}polygon")), None)
    if shape is None:
        return (0.0, 0.0, 0.0, 0.0)
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", shape.get("d") or shape.get("points") or "0,0")]
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _with_icons(parent: ElementTree.Element) -> None:
    kinds = {character: kind for kind, character in dot.ICONS.items()}
    for at, element in enumerate(list(parent)):
        kind = kinds.get((element.text or "").strip()) if element.tag == f"{{{_SVG}}}text" else None
        if kind:
            x, y = float(element.attrib["x"]), float(element.attrib["y"]) - 3
            stroke = {"fill": "none", "stroke": _COLOURS[kind], "stroke-width": "1.4", "class": "icon"}
            place = {"d": _ICONS[kind], "transform": f"translate({x:g},{y:g})", "stroke-linejoin": "round"}
            parent[at] = ElementTree.Element(f"{{{_SVG}}}path", {**place, **stroke})
