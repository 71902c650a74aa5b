"""Parameters: what a file may declare, and what may be made of them from outside."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.topology.params import declare, settle
from lab.topology.text import Source, declared_params, load

HEAD = """\
params:
  members: {default: 3, min: 1, max: 9, help: how many}
  delay: 1.5
  mode: {default: udp, choices: [udp, tcp]}
  trace: false
  hosts: [a, b]
  extra: {x: 1}
  seed: null
  port: {default: null, type: int}
"""


def settled(head: str = HEAD, **sets: object) -> tuple[dict[str, object], list[str]]:
    params, faults = declare(head)
    assert not faults
    values, problems = settle(params, sets, "x.yaml")
    return dict(values), [str(problem) for problem in problems]


def test_defaults_are_taken_where_nothing_is_set() -> None:
    values, problems = settled()
    assert not problems
    assert values == {
        "members": 3,
        "delay": 1.5,
        "mode": "udp",
        "trace": False,
        "hosts": ["a", "b"],
        "extra": {"x": 1},
        "seed": None,
        "port": None,
    }


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("members", "7", 7),
        ("members", "0x5", 5),
        ("members", 4, 4),
        ("delay", "2", 2.0),
        ("delay", "1e-3", 0.001),
        ("delay", ".inf", math.inf),
        ("delay", 2, 2.0),
        ("mode", "tcp", "tcp"),
        ("trace", "true", True),
        ("trace", "FALSE", False),
        ("trace", True, True),
        ("hosts", "[c, 7]", ["c", 7]),
        ("hosts", "[]", []),
        ("hosts", ("c",), ["c"]),
        ("extra", "{y: [1]}", {"y": [1]}),
        ("seed", "12", 12),
        ("seed", "some text", "some text"),
        ("seed", "[1", "[1"),
        ("seed", None, None),
        ("port", "80", 80),
        ("port", "null", None),
    ],
)
def test_a_value_from_outside_takes_the_type_of_the_default(name: str, given: object, value: object) -> None:
    values, problems = settled(HEAD, **{name: given})
    assert not problems
    assert (values[name], type(values[name])) == (value, type(value))


def test_a_text_parameter_takes_any_text_as_it_is() -> None:
    texts = ["7", "true", "null", "", "a: b", "[x"]
    assert [settled("params: {name: x}", name=text)[0]["name"] for text in texts] == texts


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("members", "three", "parameter members: 'three' is not an int"),
        ("members", "2.0", "parameter members: 2.0 is not an int"),
        ("members", True, "parameter members: True is not an int"),
        ("members", None, "parameter members: None is not an int"),
        ("members", "0", "parameter members: 0 is less than 1, its least"),
        ("members", 10, "parameter members: 10 is more than 9, its most"),
        ("delay", "fast", "parameter delay: 'fast' is not a float"),
        ("delay", "1:30", "parameter delay: '1:30' is not a float"),
        ("mode", "sctp", "parameter mode: 'sctp' is not one of its choices\n    choices are: 'udp', 'tcp'"),
        ("mode", 7, "parameter mode: 7 is not a str"),
        ("trace", "yes", "parameter trace: 'yes' is not a bool\n    write true or false"),
        ("trace", 1, "parameter trace: 1 is not a bool\n    write true or false"),
        ("hosts", "a", "parameter hosts: 'a' is not a list\n    write a list in YAML, such as '[a, b]'"),
        ("hosts", "[a", "parameter hosts: '[a' is not a list\n    write a list in YAML, such as '[a, b]'"),
        ("extra", "[a]", "parameter extra: ['a'] is not a dict\n    write a mapping in YAML: '{a: 1}'"),
        ("seed", Path("x"), "parameter seed: PosixPath('x') is not a plain value"),
        ("port", "http", "parameter port: 'http' is not an int"),
        ("member", 3, "x.yaml has no parameter 'member'\n    did you mean 'members'?"),
        (
            "zzz",
            3,
            "x.yaml has no parameter 'zzz'\n    it has: members, delay, mode, trace, hosts, extra, seed, port",
        ),
    ],
)
def test_a_wrong_value_from_outside_is_refused_and_the_default_stays(name: str, given: object, message: str) -> None:
    values, problems = settled(HEAD, **{name: given})
    assert problems == [message]
    assert values == settled()[0]


def test_a_file_without_parameters_says_how_to_declare_one() -> None:
    assert settled("", x=1)[1] == [
        "x.yaml has no parameter 'x'\n    it declares none: they stand in `params: {…}`, ended by `---`"
    ]


def test_every_wrong_value_is_reported() -> None:
    assert len(settled(members="x", trace="y", nothing=1)[1]) == 3


NAME = "begin with a letter, and use letters, digits and `_`"


@pytest.mark.parametrize(
    ("head", "index", "message", "hint"),
    [
        (
            "params: 3",
            8,
            "`params` must be a mapping of names to defaults",
            "such as `params: {members: 3}`",
        ),
        (
            "params: {}\nname: x",
            11,
            "only `params` may stand here, not 'name'",
            "the topology begins after a line `---`",
        ),
        ("params: {a-b: 1}", 9, "the parameter name 'a-b' is not one that Jinja2 can use", NAME),
        ("params: {7: 1}", 9, "the parameter name '7' is not one that Jinja2 can use", NAME),
        ("params: {é: 1}", 9, "the parameter name 'é' is not one that Jinja2 can use", NAME),
        ("params: {range: 1}", 9, "the parameter name 'range' has a meaning of its own in Jinja2", NAME),
        ("params: {loop: 1}", 9, "the parameter name 'loop' has a meaning of its own in Jinja2", NAME),
        ("params: {if: 1}", 9, "the parameter name 'if' has a meaning of its own in Jinja2", NAME),
        ("params: {none: 1}", 9, "the parameter name 'none' has a meaning of its own in Jinja2", NAME),
        ("params: {a: {default: 1, mn: 2}}", 29, "parameter a: there is no 'mn' here", "did you mean 'min'?"),
        (
            "params: {a: {default: 1, type: number}}",
            31,
            "parameter a: there is no type 'number'",
            "types are: str, int, bool, float, list, dict",
        ),
        ("params: {a: {default: 1, type: str}}", 22, "parameter a: 1 is not a str", None),
        ("params: {a: {default: 1.5, type: int}}", 22, "parameter a: 1.5 is not an int", None),
        ("params: {a: {default: 0, min: 1}}", 22, "parameter a: 0 is less than 1, its least", None),
        (
            "params: {a: {default: x, min: 1}}",
            30,
            "parameter a: `min` must be a number, and the parameter an int or a float",
            None,
        ),
        (
            "params: {a: {default: 1, max: big}}",
            30,
            "parameter a: `max` must be a number, and the parameter an int or a float",
            None,
        ),
        (
            "params: {a: {default: x, choices: y}}",
            34,
            "parameter a: `choices` must be a list",
            "such as `choices: [a, b]`",
        ),
        (
            "params: {a: {default: x, choices: [y]}}",
            22,
            "parameter a: 'x' is not one of its choices",
            "choices are: 'y'",
        ),
        ("params: {a: {default: x, choices: [x, 1]}}", 34, "parameter a: 1 is not a str", None),
        ("params: {a: !x 1}", 12, "the tag '!x' means nothing here", "remove it, or quote a text that begins with `!`"),
    ],
)
def test_a_wrong_declaration_is_named_with_its_place(head: str, index: int, message: str, hint: str | None) -> None:
    _, (fault,) = declare(head)
    assert (fault.index, fault.message, fault.hint) == (index, message, hint)


def test_a_whole_number_is_a_float_where_one_is_declared() -> None:
    values, _ = settled("params: {a: {default: 1, type: float, min: 0}}")
    assert (values["a"], type(values["a"])) == (1.0, float)


def test_declared_params_are_known_without_rendering() -> None:
    source = Source("x.yaml", HEAD + "---\n{{ not even Jinja2")
    assert list(declared_params(source)) == ["members", "delay", "mode", "trace", "hosts", "extra", "seed", "port"]
    assert declared_params(source)["members"] == 3
    assert declared_params(Source("x.yaml", "nodes: {}")) == {}


def test_a_wrong_declaration_is_raised_with_its_place() -> None:
    with pytest.raises(TopologyError) as caught:
        declared_params(Source("x.yaml", "# the diagram\nparams:\n  a-b: 1\n  a-c: 1\n---\n"))
    assert [str(problem.place) for problem in caught.value.problems] == ["x.yaml:3:3", "x.yaml:4:3"]


REQUIRED = "params: {peer: {required: true, type: str}, n: {required: true, type: int, min: 1}}"


def test_a_required_parameter_must_be_given() -> None:
    assert settled(REQUIRED, peer="a", n="3") == ({"peer": "a", "n": 3}, [])
    assert settled(REQUIRED, n=None)[1] == [
        "parameter n: a value must be given",
        "parameter peer: a value must be given\n    write --set peer=VALUE",
    ]


def test_a_topology_without_what_it_requires_is_not_rendered() -> None:
    source = Source("x.yaml", f"{REQUIRED}\n---\nname: {{{{ peer.x.y }}}}\n")
    with pytest.raises(TopologyError) as caught:
        load(source, {"n": 0})
    assert [each.message for each in caught.value.problems] == [
        "parameter n: 0 is less than 1, its least",
        "parameter peer: a value must be given",
    ]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("params: {a: {required: true, default: 1}}", "parameter a: a required parameter has no default"),
        ("params: {a: {required: false, type: int}}", "parameter a: there is no default"),
        ("params: {a: {required: 1, default: 2}}", "parameter a: `required` must be true or false"),
    ],
)
def test_a_parameter_is_required_or_has_a_default(head: str, message: str) -> None:
    assert [fault.message for fault in declare(head)[1]] == [message]
