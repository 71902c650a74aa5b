"""What a report shows of a test that has just ended: read from its lab while that is still up."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from lab.report.results import Capture, Frame, Recorded, Step

if TYPE_CHECKING:
    from lab.drawing.picture import Picture
    from lab.live import Lab
    from lab.model import Topology
    from lab.observe.journal import Journal
    from lab.observe.wire import Wire

_MOST_FRAMES = 100  # of a capture


def recorded(lab: Lab, topology: Topology, kept: Journal, failed: bool) -> Recorded:
    """While the lab is still up."""
    record = lab.record
    steps = [Step(each.node, each.kind, each.what, each.time, each.seconds, each.outcome) for each in kept.steps]
    captures = tuple(_capture(wire) for wire in lab.captures)
    params = {name: str(value) for name, value in record.params.items()}
    return Recorded(record.source, params, tuple(steps), kept.left, captures, _picture(lab, topology, failed))


def _picture(lab: Lab, topology: Topology, failed: bool) -> Picture | None:
    """Of the file; of the living lab where the test failed and the lab can still be read."""
    from lab.drawing import picture

    if failed:
        with contextlib.suppress(Exception):
            return dataclasses.replace(picture.of_lab(lab), name=topology.name)
    return picture.of(topology)


def _capture(wire: Wire) -> Capture:
    packets = wire.packets
    frames = [
        Frame(
            each.frame.time / 1e9,
            str(each.frame.interface),
            "sends" if each.frame.sent else "receives",
            each.summary,
            each.dissection,
            each.frame.length,
        )
        for each in packets[:_MOST_FRAMES]
    ]
    more = max(len(packets) - _MOST_FRAMES, 0)
    return Capture(tuple(map(str, wire.interfaces)), wire.expression, tuple(frames), more, dict(wire.lost))
