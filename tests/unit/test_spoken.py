"""Words -> conditions: each sentence that there is, and what is said of one that is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lab.errors import TopologyError
from lab.observe import spoken
from lab.observe.conditions import (
    Addressed,
    Carrier,
    Condition,
    Gone,
    Listening,
    Neighbour,
    Ran,
    Routed,
    Succeeds,
)

NODES = ("client", "server", "ready")


def run(node: str, argv: Sequence[str]) -> Ran:
    return Ran(0, f"{node}: {' '.join(argv)}")


def read(sentence: str) -> spoken.Sentence:
    return spoken.read(sentence.split(), NODES, run)


PING = ("ping", "-n", "-q", "-c1", "-W1")
SENTENCES: dict[str, Condition] = {
    "carrier eth0": Carrier("eth0"),
    "address 2001:db8::1": Addressed("2001:db8::1"),
    "address 2001:0DB8:0::1 eth0": Addressed("2001:db8::1", "eth0"),
    "address 10.0.0.1": Addressed("10.0.0.1"),
    "listening tcp/80": Listening(80),
    "listening udp/53": Listening(53, udp=True),
    "route 10.0.0.0/8": Routed("10.0.0.0/8"),
    "route 10.0.0.1": Routed("10.0.0.1/32"),
    "route 2001:db8::/32": Routed("2001:db8::/32"),
    "route default": Routed("default"),
    "neighbour fe80::1": Neighbour("fe80::1"),
    "reaches 10.0.0.1": Succeeds((*PING, "10.0.0.1"), "10.0.0.1 answers an echo request", lambda _: Ran(0, "")),
    "reaches fe80::1%eth0": Succeeds((*PING, "fe80::1%eth0"), "fe80::1%eth0 answers an echo request", lambda _: Ran(0, "")),
    "runs true": Succeeds(("true",), "`true` ends with 0", lambda _: Ran(0, "")),
    "runs -- sh -c x -- y": Succeeds(("sh", "-c", "x", "--", "y"), "`sh -c x -- y` ends with 0", lambda _: Ran(0, "")),
    "gone carrier eth0": Gone(Carrier("eth0")),
    "gone route default": Gone(Routed("default")),
    "gone listening tcp/80": Gone(Listening(80)),
    "gone neighbour 10.0.0.1": Gone(Neighbour("10.0.0.1")),
    "gone reaches 10.0.0.1": Gone(Succeeds((*PING, "10.0.0.1"), "10.0.0.1 answers an echo request", lambda _: Ran(0, ""))),
    "gone address 10.0.0.1 eth0": Gone(Addressed("10.0.0.1", "eth0", usable=False)),
}


@pytest.mark.parametrize(("words", "condition"), SENTENCES.items(), ids=SENTENCES.keys())
def test_a_sentence_is_a_condition_of_its_node(words: str, condition: Condition) -> None:
    assert read(f"client {words}") == spoken.Sentence("client", condition)


def test_every_kind_has_a_sentence_here_and_only_kinds_have() -> None:
    assert {words.removeprefix("gone ").split()[0] for words in SENTENCES} == set(spoken.KINDS)


def test_ready_alone_is_of_the_whole_lab_and_a_node_may_be_called_so() -> None:
    assert read("ready") == spoken.Sentence(None, None)
    assert read("ready carrier eth0") == spoken.Sentence("ready", Carrier("eth0"))


def test_a_command_is_run_on_the_node_that_was_named() -> None:
    condition = read("server runs -- cat x").condition
    assert isinstance(condition, Succeeds)
    assert condition.look().what == "it ended with 0: server: cat x"


def test_the_opposite_of_an_address_that_is_there_and_tentative_is_its_absence() -> None:
    condition = read("client gone address 10.0.0.1").condition
    assert str(condition) == "no longer: 10.0.0.1 is there"


WRONG = {
    "": ("there is no condition", "`ready`, or a node and one of: carrier"),
    "clinet carrier eth0": ("the lab has no node 'clinet'", "did you mean 'client'?"),
    "raedy": ("the lab has no node 'raedy'", "did you mean 'ready'?"),
    "client": ("what of node 'client' is to be waited for?", "one of: carrier, address"),
    "client gone": ("what of node 'client' is to be waited for?", "one of: carrier, address"),
    "client carier eth0": ("there is no condition 'carier'", "did you mean 'carrier'?"),
    "client carrier": ("`carrier` is no condition", "write carrier DEVICE"),
    "client carrier eth0 eth1": ("`carrier eth0 eth1` is no condition", "write carrier DEVICE"),
    "client address 10.0.0.1/24": ("'10.0.0.1/24' is no address", "without its prefix length: 10.0.0.1"),
    "client address www": ("'www' is no address", "such as 10.0.0.1"),
    "client neighbour fe80::1%eth0": ("'fe80::1%eth0' has a zone", "leave out"),
    "client route 10.0.0.1/24": ("'10.0.0.1/24' is no prefix", "its network is 10.0.0.0/24"),
    "client route www": ("'www' is no prefix", "or default"),
    "client listening 80": ("'80' is no port", "write tcp/80"),
    "client listening tcp/0": ("'tcp/0' is no port", "from 1 to 65535"),
    "client listening tcp/65536": ("'tcp/65536' is no port", "from 1 to 65535"),
    "client listening tpc/80": ("'tpc/80' is no port", "write tcp/80"),
    "client listening tcp/²": ("'tcp/²' is no port", "write tcp/80"),
    "client runs --": ("`runs` has no command", "write runs -- COMMAND"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.items(), ids=WRONG.keys())
def test_words_that_are_none_are_told_with_what_to_write(words: str, said: tuple[str, str]) -> None:
    with pytest.raises(TopologyError) as caught:
        read(words)
    (problem,) = caught.value.problems
    assert said[0] in problem.message
    assert said[1] in (problem.hint or "")


def test_nothing_comes_after_ready_where_no_node_is_called_so() -> None:
    with pytest.raises(TopologyError, match="nothing comes after `ready`"):
        spoken.read(["ready", "now"], ["client"], run)
