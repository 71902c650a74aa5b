"""The renderer: a short-lived process of its own, which runs a user's template. It is a fork of the stock (stock.py), the only
process that imports Jinja2.

It is given, from outside: as standard input the leash, a pipe on which one byte says that the request is complete and
whose end says that the owner is gone; as descriptor 3 the request, as standard output the answer, both JSON in memory
files that need no reader. See sandbox.py for the other side.

    request     {"source": text, "params": {name: value}, "marks": null | "all" | "outer", "seconds": float}
    answer      {"text": text}  or  a fault
    fault       {"fault": kind, "message": text, "line": int | null, "name": text, "names": {name: line}, "template": text}
    kinds       syntax undefined unsafe loader time memory output failed refused ours

Or files of roles, many at once; then faults are told one by one, and the batch ends early where its limits are met:

    request     {"batch": {"folders": {folder: {"files": {name: text}, "words": [text]}}, "shared": {name: value},
                 "items": [{"folder": folder, "wanted": [name], "context": {name: value}, "node": name}]}, "seconds": float}
    answer      {"items": [{"files": [text | fault], "words": [text | fault]}]}
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from jinja2 import BaseLoader, FunctionLoader, StrictUndefined, Template
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lab.topology import limits
from lab.topology.marks import mark

REQUEST = 3
_LIMITS = {
    resource.RLIMIT_AS: limits.MEMORY,
    resource.RLIMIT_CPU: limits.CPU,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: limits.ANSWER,
    resource.RLIMIT_NOFILE: 16,
    resource.RLIMIT_NPROC: 0,
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_FILE = "<template>"  # what Jinja2 calls a template without a file, in tracebacks
_UNDEFINED = re.compile(r"^'(\w+)' is undefined$")

Answer = dict[str, Any]


class OutOfTimeError(Exception):
    """The alarm rang; an Exception, so that Jinja2 maps the traceback to the template's lines."""


class OutOfRoomError(Exception):
    """More output than a topology can need."""


class Undefined(StrictUndefined):
    """An undefined name is refused also where Python asks for an index, as in `range(name)`."""

    __slots__ = ()
    __index__ = StrictUndefined._fail_with_undefined_error


class RefusedError(Exception):
    """A role's template says that it cannot be."""


class _Bounded(ImmutableSandboxedEnvironment):
    """Jinja2 as files from a user may use it: the same file and values always give the same text."""

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self, **options: Any) -> None:
        super().__init__(keep_trailing_newline=True, undefined=Undefined, auto_reload=False, **options)
        del self.globals["lipsum"], self.filters["random"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if type(left) is int and type(right) is int:
            size, other = left.bit_length(), right.bit_length()
            if (size * right if operator == "**" else size + other) > limits.NUMBER:
                raise OverflowError("the result is too large a number")
        return super().call_binop(context, operator, left, right)


class Environment(_Bounded):
    """Of a topology, which becomes YAML."""

    def __init__(self) -> None:
        super().__init__(line_statement_prefix="#%", loader=BaseLoader(), finalize=_as_yaml, cache_size=0)


class RoleEnvironment(_Bounded):
    """Of a role's files, as configuration files are templated: only those of its own folder can be included."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, cache_size=-1, loader=FunctionLoader(self._load))
        self.globals["fail"] = _refuse
        self._files = files

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (self._files[name], f"{_FILE}/{name}", lambda: True) if name in self._files else None


def _refuse(message: object) -> None:
    raise RefusedError(str(message))


def _as_yaml(value: object) -> object:
    """JSON, which is YAML, where Python would print values its own way: `None` would be a text."""
    if value is None or isinstance(value, (bool, list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def main() -> None:
    """Serve one request and end."""
    for limit, wanted in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        last = wanted + 1 if limit == resource.RLIMIT_CPU else wanted  # SIGXCPU, and SIGKILL at the hard limit
        soft, most = (each if hard == resource.RLIM_INFINITY else min(each, hard) for each in (wanted, last))
        resource.setrlimit(limit, (soft, most))
    if not os.read(0, 1):
        return
    _die_with_parent()
    try:
        request = json.loads(_read(REQUEST))
        answer = serve_batch(request) if "batch" in request else serve(request)
    except MemoryError:
        answer = _fault("memory")
    except Exception:
        answer = _fault("ours", traceback.format_exc())
    data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(data if len(data) <= limits.ANSWER else json.dumps(_fault("output")).encode())


def serve(request: Mapping[str, Any]) -> Answer:
    """The answer to one request; see the module."""
    environment = Environment()
    source = request["source"]
    try:
        with _alarm(request["seconds"]):
            if request["marks"]:
                source = mark(source, environment.lex(source), captured=request["marks"] == "all")
            most = limits.MARKED_OUTPUT if request["marks"] else limits.OUTPUT
            return {"text": render(environment, source, request["params"], most)}
    except Exception as error:
        return _explain(error) | _others(error, environment, source, request["params"])


def render(environment: Environment, source: str, params: Mapping[str, object], most: int) -> str:
    """The rendered text. OutOfRoomError beyond `most` characters, ValueError for what UTF-8 cannot hold, both with the
    template's line in their traceback."""
    return _filled(environment.from_string(source), params, most)


def _filled(template: Template, values: Mapping[str, object], most: int) -> str:
    pieces = template.generate(values)
    done: list[str] = []
    size = 0
    for piece in pieces:
        done.append(piece)
        size += len(piece)
        if size > most:
            pieces.throw(OutOfRoomError())  # type: ignore[attr-defined]  # it is a generator
        if _SURROGATE.search(piece):
            pieces.throw(ValueError("a lone surrogate is no character"))  # type: ignore[attr-defined]
    return "".join(done)


def serve_batch(request: Mapping[str, Any]) -> Answer:
    """The answer to one request for files of roles."""
    batch = request["batch"]
    folders = {name: _Folder(each["files"], each["words"]) for name, each in batch["folders"].items()}
    shared, items, room = batch["shared"], [], limits.OUTPUT
    with suppress(_EndError, OutOfTimeError), _alarm(request["seconds"]):
        for item in batch["items"]:
            values = shared | item["context"] | {"node": shared["nodes"][item["node"]]}
            answer: dict[str, list[Any]] = {"files": [], "words": []}
            items.append(answer)
            for texts in folders[item["folder"]].texts(item["wanted"], values, answer, room):
                room -= len(texts)
    return {"items": items}


class _EndError(Exception):
    """The limits of the whole batch are met: the fault is told, and nothing more is rendered."""


class _Folder:
    """The templates of one role, each compiled once."""

    def __init__(self, files: Mapping[str, str], words: list[str]) -> None:
        self._environment, self._files, self._words = RoleEnvironment(files), files, words
        self._compiled: dict[str, Template] = {}

    def texts(self, wanted: list[str], values: Mapping[str, object], answer: dict[str, list[Any]], room: int) -> Iterator[str]:
        """Fills `answer` in; yields each text."""
        for name in wanted:
            yield from self._one(partial(self._environment.get_template, name), name, values, answer["files"], room)
        for word in self._words:
            yield from self._one(partial(self._word, word), "", values, answer["words"], room)

    def _word(self, source: str) -> Template:
        if source not in self._compiled:
            self._compiled[source] = self._environment.from_string(source)
        return self._compiled[source]

    def _one(
        self, compiled: Callable[[], Template], name: str, values: Mapping[str, object], answers: list[Any], room: int
    ) -> Iterator[str]:
        try:
            text = _filled(compiled(), values, room)
        except Exception as error:
            fault = _explain(error)
            if name and fault["template"] == name:
                fault |= _others(error, self._environment, self._files[name], values)
            answers.append(fault)
            if fault["fault"] in ("time", "memory", "output"):
                raise _EndError from None
            return
        answers.append(text)
        yield text


def _explain(error: Exception) -> Answer:
    kinds: dict[type[Exception], str] = {
        TemplateNotFound: "loader",
        TemplateSyntaxError: "syntax",
        UndefinedError: "undefined",
        SecurityError: "unsafe",
        OutOfTimeError: "time",
        OutOfRoomError: "output",
        MemoryError: "memory",
        RefusedError: "refused",
    }
    kind = next((name for of, name in kinds.items() if isinstance(error, of)), "failed")
    message = str(error) if kind != "failed" else f"{type(error).__name__}: {getattr(error, 'msg', error)}"
    found = _UNDEFINED.match(message) if kind == "undefined" else None
    return _fault(kind, message, *_spot(error), found[1] if found else "")


def _spot(error: Exception) -> tuple[str, int | None]:
    """The innermost template that the error passed through, and its line there; "" is one without a file."""
    name, line = (error.name or "", error.lineno) if isinstance(error, TemplateSyntaxError) else ("", None)
    trace = error.__traceback__
    while trace:
        file, _, inner = trace.tb_frame.f_code.co_filename.partition("/")
        if file == _FILE:
            name, line = inner, trace.tb_lineno
        trace = trace.tb_next
    return name, line


def _others(error: Exception, environment: _Bounded, source: str, params: Mapping[str, object]) -> Answer:
    """Every name that the template reads and nothing defines, with its first line: Jinja2 itself stops at one."""
    if not isinstance(error, UndefinedError):
        return {}
    from jinja2 import meta, nodes

    tree = environment.parse(source)
    tested = [node.node for node in tree.find_all((nodes.Test, nodes.Filter)) if _asks_for_definition(node)]
    asked = {node.name for node in tested if isinstance(node, nodes.Name)}
    missing = meta.find_undeclared_variables(tree) - set(params) - set(environment.globals) - asked
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in missing:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return {"names": lines}


def _asks_for_definition(node: Any) -> bool:
    return node.name in ("defined", "undefined", "default", "d")


def _fault(kind: str, message: str = "", template: str = "", line: int | None = None, name: str = "") -> Answer:
    return {"fault": kind, "message": message, "line": line, "name": name, "names": {}, "template": template}


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in what is running when it has had `seconds` of processor time: a busy or emulated machine is no
    fault of the file's."""

    def ring(*_: object) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _die_with_parent() -> None:
    """Ask for SIGIO, which ends a process, when the leash's other end is closed: fcntl(2), F_SETOWN and O_ASYNC.

    Unlike PR_SET_PDEATHSIG this follows the parent as a process, not the thread of it that happened to start us.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        if not os.read(0, 1):  # it was closed before we asked
            sys.exit()


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
