"""Words -> a condition: `client carrier eth0`, `client gone route default`. Pure, and without a character to quote.

SENTENCE    ready  |  NODE [gone] KIND …            KINDS has what follows each kind
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lab.errors import TopologyError
from lab.topology.words import did_you_mean, shown

if TYPE_CHECKING:
    from lab.observe.conditions import Condition, Ran

KINDS = {
    "carrier": "DEVICE",
    "address": "ADDRESS [DEVICE]",
    "listening": "tcp/PORT or udp/PORT",
    "route": "PREFIX or default",
    "neighbour": "ADDRESS",
    "reaches": "ADDRESS",
    "runs": "-- COMMAND...",
}
"""Kind -> the words after it."""
READY, GONE, DEFAULT, PROTOCOLS = "ready", "gone", "default", ("tcp", "udp")

Run = Callable[[str, Sequence[str]], "Ran"]
"""Runs a command on the node of that name."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """`node` and `condition` are None where the readiness of the whole lab is meant."""

    node: str | None
    condition: Condition | None


def read(words: Sequence[str], nodes: Collection[str], run: Run) -> Sentence:
    """What the words say. Raises TopologyError where they say nothing, with what was probably meant."""
    if tuple(words) == (READY,):
        return Sentence(None, None)
    if not words:
        raise TopologyError("there is no condition", f"`{READY}`, or a node and one of: {', '.join(KINDS)}")
    node, *rest = words
    if node not in nodes and node == READY:
        raise TopologyError(f"nothing comes after `{READY}`", f"`{READY}` alone is that of the whole lab")
    if node not in nodes:
        hint = did_you_mean(node, [*nodes, READY], f"the condition is `{READY}` or begins with a node: ")
        raise TopologyError(f"the lab has no node {shown(node)}", hint)
    if rest[:1] == [GONE]:
        return Sentence(node, _gone(node, rest[1:], run))
    return Sentence(node, _condition(node, rest, run))


def _gone(node: str, words: Sequence[str], run: Run) -> Condition:
    """Of an address it is the absence, and not only that it cannot be used yet."""
    from lab.observe.conditions import Addressed, Gone

    condition = _condition(node, words, run)
    if isinstance(condition, Addressed):
        condition = Addressed(condition.address, condition.device, usable=False)
    return Gone(condition)


def _condition(node: str, words: Sequence[str], run: Run) -> Condition:
    if not words:
        raise TopologyError(f"what of node {shown(node)} is to be waited for?", f"one of: {', '.join(KINDS)}")
    kind, *rest = words
    if kind not in KINDS:
        raise TopologyError(f"there is no condition {shown(kind)}", did_you_mean(kind, [*KINDS, GONE], "conditions are: "))
    if not rest or len(rest) > _MOST.get(kind, len(rest)):
        raise TopologyError(f"`{' '.join(words)}` is no condition", f"write {kind} {KINDS[kind]}")
    return _READERS[kind](rest, partial(run, node))


_MOST = {"carrier": 1, "address": 2, "listening": 1, "route": 1, "neighbour": 1, "reaches": 1}
"""How many words may follow."""


def _carrier(words: Sequence[str], _run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Carrier

    return Carrier(words[0])


def _address(words: Sequence[str], _run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Addressed

    address, device = (*words, "")[:2]
    return Addressed(_checked(address), device)


def _listening(words: Sequence[str], _run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Listening

    protocol, slash, port = words[0].partition("/")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if not slash or protocol not in PROTOCOLS or not 0 < number < 1 << 16:
        raise TopologyError(f"{shown(words[0])} is no port", "write tcp/80 or udp/53, with a port from 1 to 65535")
    return Listening(number, protocol == "udp")


def _route(words: Sequence[str], _run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Routed

    return Routed(words[0] if words[0] == DEFAULT else _prefix(words[0]))


def _neighbour(words: Sequence[str], _run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Neighbour

    return Neighbour(_checked(words[0]))


def _reaches(words: Sequence[str], run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Succeeds

    address = _checked(words[0], zone=True)
    return Succeeds(("ping", "-n", "-q", "-c1", "-W1", address), f"{address} answers an echo request", run)


def _runs(words: Sequence[str], run: Callable[[Sequence[str]], Ran]) -> Condition:
    from lab.observe.conditions import Succeeds

    argv = tuple(words[1:] if words[0] == "--" else words)
    if not argv:
        raise TopologyError("`runs` has no command", f"write runs {KINDS['runs']}")
    return Succeeds(argv, f"`{shlex.join(argv)}` ends with 0", run)


_READERS: dict[str, Callable[[Sequence[str], Callable[[Sequence[str]], Ran]], Condition]] = {
    "carrier": _carrier,
    "address": _address,
    "listening": _listening,
    "route": _route,
    "neighbour": _neighbour,
    "reaches": _reaches,
    "runs": _runs,
}


def _checked(text: str, zone: bool = False) -> str:
    """An address as the kernel would write it; with `zone` one of the link may say its device: fe80::1%eth0."""
    if "/" in text:
        raise TopologyError(f"{shown(text)} is no address", f"write it without its prefix length: {text.partition('/')[0]}")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise TopologyError(f"{shown(text)} is no address", "such as 10.0.0.1 or 2001:db8::1") from None
    if not zone and "%" in text:
        raise TopologyError(f"{shown(text)} has a zone", "leave out the % and what follows it")
    return str(address)


def _prefix(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        hint = f"its network is {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        hint = "such as 10.0.0.0/8, 2001:db8::/32 or default"
    raise TopologyError(f"{shown(text)} is no prefix of a route", hint)
