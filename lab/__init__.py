"""A laboratory for Linux networking: `from lab import Lab`.

The names are loaded on first use, so that `lab --version` and `lab down` pay for no library they do not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lab.errors import HostError, LabError, StepError, TeardownError, TopologyError
    from lab.live import Lab
    from lab.node import Node

__all__ = ["HostError", "Lab", "LabError", "Node", "StepError", "TeardownError", "TopologyError", "__version__"]

_HOMES = {"Lab": "lab.live", "Node": "lab.node"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "lab.errors")), name)
