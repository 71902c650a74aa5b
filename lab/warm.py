"""What a process that makes many labs keeps for the next one: helpers whose start takes longer than their work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lab.substrate import crew, spawner
from lab.topology import sandbox


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """In the block the threads for namespaces, the helper that forks inits and the process that has Jinja2 serve every lab."""
    with crew.kept(), spawner.kept(), sandbox.kept():
        yield
