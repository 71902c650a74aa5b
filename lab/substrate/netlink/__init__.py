"""Netlink: messages made with pyroute2's classes, sent in batches over sockets bound to a namespace.

pyroute2 appears only here. Its `__init__` imports all that it can do, a tenth of a second of which building a lab needs a
fifth; so the package is entered here without it, and it runs by itself once somebody asks for a name that is in it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """A package whose `__init__` has not run. Submodules are imported as ever; any other name runs it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError:
            self.__class__ = ModuleType  # type: ignore[assignment] # whatever happens now, it happens once
        assert self.__spec__ and self.__spec__.loader
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _defer(package: str) -> None:
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    if spec is not None:
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[package] = module


_defer("pyroute2")
