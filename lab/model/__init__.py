"""What a topology file may say, and what it means: plain data in, a frozen `Topology` or all its faults out.

file      the mappings as they are written          values    the scalars in them
resolve   names, peers, order, numbers              segments  who hears whom at layer 2
checks    the invariants                            schema    the JSON schema, made from `file`
"""

from __future__ import annotations

from lab.model.parse import parse
from lab.model.topology import Fault, Faults, Interface, Link, Node, Path, Topology

__all__ = ["Fault", "Faults", "Interface", "Link", "Node", "Path", "Topology", "parse"]
