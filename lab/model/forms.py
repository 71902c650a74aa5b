"""What the classes of the file are made of: the frozen mapping, and the short forms that may stand for a full one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema


class Written(BaseModel):
    """A mapping of the file. Numbers may come quoted, as they do from an expression of Jinja2's: `mtu: "{{ mtu }}"`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Loose:
    """What may stand for a value: `before` makes the full form of it, `also` is its JSON schema beside the full form's."""

    before: Callable[[Any], Any]
    also: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.before, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = dict(handler(schema))
        return {"anyOf": [self.also(full), full]}


def short(key: str) -> Loose:
    """A bare scalar stands for a mapping with that one key."""
    return Loose(lambda value: value if isinstance(value, (dict, BaseModel)) else {key: value}, lambda _: {"type": "string"})


def _listed(value: Any) -> Any:
    """A bare value stands for a list of one, and lists become the frozen tuples of the model."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _lone(full: dict[str, Any]) -> dict[str, Any]:
    """One item or nothing instead of a list; where the length is fixed neither will do."""
    return {"anyOf": [full["items"], {"type": "null"}]} if "items" in full else full


Many = Loose(_listed, _lone)
blank = Loose(lambda value: {} if value is None else value, lambda _: {"type": "null"})
