"""Which end of each cable lies above the other: what hangs from a node lies below it, by the number of cables from the first
node of the file that is no switch. Where exactly anything lies is the layout's matter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from lab.drawing.picture import Box, Cable, End, Picture

MOST_LEAVES = 5
"""That hang from one switch on one side."""


def directed(picture: Picture) -> Iterator[tuple[End, End]]:
    """The ends of every cable, the upper one first. Of many leaves of one switch every other one is above it."""
    depths, leaves = _depths(picture), _raised_leaves(picture)
    for cable in picture.cables:
        down = depths[cable.near.node] <= depths[cable.far.node]
        first, second = (cable.near, cable.far) if down else (cable.far, cable.near)
        yield (second, first) if second.node in leaves else (first, second)


def _depths(picture: Picture) -> dict[str, int]:
    """Node -> how many cables lie between it and the first node of the file, switches last."""
    beside = _beside(picture.boxes, picture.cables)
    found: dict[str, int] = {}
    for start in sorted(picture.boxes, key=lambda box: box.switches):
        waiting = deque([] if start.name in found else [(start.name, 0)])
        while waiting:
            name, depth = waiting.popleft()
            if name not in found:
                found[name] = depth
                waiting.extend((other, depth + 1) for other in beside[name])
    return found


def _beside(boxes: tuple[Box, ...], cables: tuple[Cable, ...]) -> dict[str, list[str]]:
    beside: dict[str, list[str]] = {box.name: [] for box in boxes}
    for cable in cables:
        beside[cable.near.node].append(cable.far.node)
        beside[cable.far.node].append(cable.near.node)
    return beside


def _raised_leaves(picture: Picture) -> set[str]:
    beside, depths = _beside(picture.boxes, picture.cables), _depths(picture)
    raised: set[str] = set()
    for box in picture.boxes:
        if box.switches:
            leaves = [name for name in beside[box.name] if len(beside[name]) == 1 and depths[name] > depths[box.name]]
            raised |= set(leaves[1::2]) if len(leaves) > MOST_LEAVES else set()
    return raised
