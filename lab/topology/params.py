"""The parameters of a topology, or of a role: what is declared, and what they are once values are given.

A parameter is `name: default` or `name: {default:, type:, choices:, min:, max:, help:}`, or without a default
`name: {required: true, type:, …}`. Texts given from outside are read as the type of the default. Nothing here knows where
the topology's own text begins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lab.errors import Problem
from lab.topology.scalars import resolve
from lab.topology.words import did_you_mean, listed, shown
from lab.topology.yaml12 import Parsed, Spot, parse
from lab.topology.yamlhints import Fault

Values = Mapping[str, object]

_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float, "list": list, "dict": dict}
_LONG = ("default", "required", "type", "choices", "min", "max", "help")
_ARTICLES = {"int": "an int"}
_EXAMPLES = {"bool": "true or false", "list": "a list in YAML, such as '[a, b]'", "dict": "a mapping in YAML: '{a: 1}'"}
# Names that a template already has a meaning for: Jinja2's globals, its special names and its keywords.
_GLOBALS = ("range", "dict", "lipsum", "cycler", "joiner", "namespace")
_SPECIAL = ("loop", "self", "super", "caller", "varargs", "kwargs", "true", "false", "none", "True", "False", "None")
_WORDS = ("and", "or", "not", "in", "is", "if", "else", "elif", "for", "set", "macro", "import", "recursive", "with")
_TAKEN = frozenset(_GLOBALS + _SPECIAL + _WORDS)


@dataclass(frozen=True)
class Param:
    """One declared parameter; `type` is a key of _TYPES, or "any" where only a null default says nothing.

    A `required` one has the default None, which is no value of it."""

    name: str
    default: Any
    type: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    required: bool = False


class RefusedError(Exception):
    """A value of a parameter is wrong, or the part `key` of its long form."""

    def __init__(self, message: str, hint: str | None = None, key: str = "default") -> None:
        super().__init__(message, hint, key)
        self.message, self.hint, self.key = message, hint, key


def declare(head: str) -> tuple[dict[str, Param], tuple[Fault, ...]]:
    """The parameters of `head`, the document before the topology's, and what is wrong there, by index in `head`."""
    if not head:
        return {}, ()
    parsed = parse(head)
    if parsed.faults:
        return {}, parsed.faults
    reader = _Reader()
    reader.document(parsed)
    return reader.params, tuple(reader.faults)


def declared(value: object, spot: Spot, taken: Collection[str]) -> tuple[dict[str, Param], tuple[Fault, ...]]:
    """The same of the value of a key `params` that stands in a larger document; `taken` are names that mean something else."""
    reader = _Reader(taken)
    reader.mapping(value, spot)
    return reader.params, tuple(reader.faults)


def settle(params: Mapping[str, Param], sets: Values, source: str) -> tuple[Values, list[Problem]]:
    """The effective values, and what is wrong with `sets`; a wrong one leaves the default."""
    values = {param.name: param.default for param in params.values()}
    problems = []
    for name, given in sets.items():
        if name not in params:
            problems.append(_unknown(name, params, source))
            continue
        try:
            values[name] = accept(params[name], given)
        except RefusedError as refused:
            problems.append(Problem(f"parameter {name}: {refused.message}", refused.hint))
    problems += [_missing(each) for each in params.values() if each.required and each.name not in sets]
    return MappingProxyType(values), problems


def accept(param: Param, given: object) -> Any:
    """`given` as a value of the parameter, or RefusedError."""
    value = _convert(param, given)
    return value if value is None else _check(param, value)


def _missing(param: Param) -> Problem:
    return Problem(f"parameter {param.name}: a value must be given", f"write --set {param.name}=VALUE")


def _unknown(name: str, params: Mapping[str, Param], source: str) -> Problem:
    hint = did_you_mean(name, params, "it has: ") or "it declares none: they stand in `params: {…}`, ended by `---`"
    return Problem(f"{source} has no parameter {shown(name)}", hint)


# -- from a value given outside


def _convert(param: Param, given: object) -> Any:
    """`given` as the parameter's type."""
    if isinstance(given, str) and param.type != "str":
        given = _read(param.type, given)
    if given is None and param.required:
        raise RefusedError("a value must be given")
    if given is None and param.default is None:
        return None
    if isinstance(given, tuple):
        given = list(given)
    if param.type == "float" and type(given) is int:
        return float(given)
    if not _fits(param.type, given):
        raise _wrong_type(param.type, given)
    return given


def _read(kind: str, text: str) -> Any:
    """A text from the command line; one that is no scalar and no YAML stays text, which fits nothing else."""
    if kind in ("int", "float", "bool"):
        return resolve(text)
    parsed = parse(text)
    if not parsed.faults:
        return parsed.value
    if kind == "any":
        return text
    raise _wrong_type(kind, text)


def _fits(kind: str, value: object) -> bool:
    if kind == "any":
        return value is None or type(value) in _TYPES.values()
    return type(value) is _TYPES[kind]


def _wrong_type(kind: str, given: object, key: str = "default") -> RefusedError:
    name = "a plain value" if kind == "any" else _ARTICLES.get(kind, f"a {kind}")
    example = _EXAMPLES.get(kind)
    return RefusedError(f"{shown(given)} is not {name}", f"write {example}" if example else None, key)


def _check(param: Param, value: Any) -> Any:
    if param.choices and value not in param.choices:
        known = listed(map(shown, param.choices))
        raise RefusedError(f"{shown(value)} is not one of its choices", f"choices are: {known}")
    if param.low is not None and not value >= param.low:
        raise RefusedError(f"{shown(value)} is less than {param.low}, its least")
    if param.high is not None and not value <= param.high:
        raise RefusedError(f"{shown(value)} is more than {param.high}, its most")
    return value


# -- from the file


class _Reader:
    """Reads declarations: `params` are those without a fault."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self.params: dict[str, Param] = {}
        self.faults: list[Fault] = []
        self._taken = taken

    def document(self, parsed: Parsed) -> None:
        """A document that holds nothing else."""
        top, spots = self._mapping(parsed.value, parsed.spot, "this document")
        for key in top:
            if key != "params":
                hint = "the topology begins after a line `---`"
                self.faults.append(Fault(spots[key].key_at, f"only `params` may stand here, not {shown(key)}", hint))
        if top.get("params") is not None:
            self.mapping(top["params"], spots["params"])

    def mapping(self, value: object, spot: Spot) -> None:
        """The declarations themselves."""
        declared, spots = self._mapping(value, spot, "`params`")
        for name, each in declared.items():
            self._declare(name, each, spots[name])

    def _mapping(self, value: Any, spot: Spot, what: str) -> tuple[dict[str, Any], dict[str, Spot]]:
        if isinstance(value, dict) and isinstance(spot.branch, dict):
            return value, spot.branch
        message = f"{what} must be a mapping of names to defaults"
        self.faults.append(Fault(spot.at, message, "such as `params: {members: 3}`"))
        return {}, {}

    def _declare(self, name: str, value: Any, spot: Spot) -> None:
        if why := _refusal(name):
            message = f"the parameter name {shown(name)} {why}"
            self.faults.append(Fault(spot.key_at, message, "begin with a letter, and use letters, digits and `_`"))
            return
        if name in self._taken:
            self.faults.append(Fault(spot.key_at, f"the parameter name {shown(name)} is taken", "choose another one"))
            return
        long = isinstance(value, dict) and ("default" in value or isinstance(value.get("required"), bool))
        spots = spot.branch if long and isinstance(spot.branch, dict) else {"default": spot}
        try:
            self.params[name] = _specified(name, value if long else {"default": value})
        except RefusedError as refused:
            self.faults.append(Fault(spots.get(refused.key, spot).at, f"parameter {name}: {refused.message}", refused.hint))


def _refusal(name: str) -> str | None:
    if not (name.isascii() and name.isidentifier()):
        return "is not one that Jinja2 can use"
    return "has a meaning of its own in Jinja2" if name in _TAKEN else None


def _specified(name: str, spec: Mapping[str, Any]) -> Param:
    """The parameter of a long form; the short form is one with only `default`."""
    for key in spec:
        if key not in _LONG:
            raise RefusedError(f"there is no {shown(key)} here", did_you_mean(key, _LONG, "there are: "), key)
    kind, required = _type(spec), _required(spec)
    param = Param(
        name,
        None if required else _part(spec, "default", kind),
        kind,
        tuple(_choices(spec, kind)),
        _bound(spec, "min", kind),
        _bound(spec, "max", kind),
        required,
    )
    if param.default is not None:
        _check(param, param.default)
    return param


def _required(spec: Mapping[str, Any]) -> bool:
    required = spec.get("required", False)
    if not isinstance(required, bool):
        raise RefusedError("`required` must be true or false", None, "required")
    if required and "default" in spec:
        raise RefusedError("a required parameter has no default", "remove one of them", "required")
    if not required and "default" not in spec:
        raise RefusedError("there is no default", "add `default:`, or write `required: true`", "required")
    return required


def _type(spec: Mapping[str, Any]) -> str:
    default, kind = spec.get("default"), spec.get("type")
    if kind is None:
        return next((name for name, of in _TYPES.items() if type(default) is of), "any")
    if kind not in list(_TYPES):
        raise RefusedError(f"there is no type {shown(kind)}", f"types are: {listed(_TYPES)}", "type")
    return str(kind)


def _part(spec: Mapping[str, Any], key: str, kind: str, value: Any = None) -> Any:
    """`value`, or else that of `key`, as the type; nothing is read out of a text here."""
    value = spec[key] if value is None else value
    if value is None:
        return None
    if kind == "float" and type(value) is int:
        return float(value)
    if not _fits(kind, value):
        raise _wrong_type(kind, value, key)
    return value


def _choices(spec: Mapping[str, Any], kind: str) -> list[Any]:
    choices = spec.get("choices", [])
    if not isinstance(choices, list) or ("choices" in spec and not choices):
        raise RefusedError("`choices` must be a list", "such as `choices: [a, b]`", "choices")
    return [_part(spec, "choices", kind, value) for value in choices]


def _bound(spec: Mapping[str, Any], key: str, kind: str) -> float | None:
    value = spec.get(key)
    if value is None:
        return None
    if kind not in ("int", "float") or type(value) not in (int, float):
        raise RefusedError(f"`{key}` must be a number, and the parameter an int or a float", None, key)
    return value  # type: ignore[no-any-return]
