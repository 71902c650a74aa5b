"""The text stage as the rest of lab sees it: from a source to a document, or to every problem at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.topology.text import Source, load, read_source, render_only, start

PARAMS = "params: {members: 2, flag: true, nothing: null, names: [a, b]}\n---\n"


def data(text: str, **sets: object) -> object:
    return load(Source("x.yaml", text), sets).data


def problems(text: str, **sets: object) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        load(Source("x.yaml", text), sets)
    return [str(problem) for problem in caught.value.problems]


def test_a_document_carries_the_rendered_text_the_parameters_and_its_source() -> None:
    source = Source("x.yaml", PARAMS + "n: {{ members }}\n", Path("/"))
    document = load(source, {"members": "5"})
    assert document.data == {"n": 5}
    assert document.rendered == "n: 5\n"
    assert document.params == {"members": 5, "flag": True, "nothing": None, "names": ["a", "b"]}
    assert document.source is source


def test_what_jinja_prints_of_a_parameter_is_yaml_again() -> None:
    text = PARAMS + "flag: {{ flag }}\nno: {{ not flag }}\nnothing: {{ nothing }}\nnames: {{ names }}\n"
    assert data(text) == {"flag": True, "no": False, "nothing": None, "names": ["a", "b"]}


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n",
        "---\na: 1\n",
        "params: {}\n---\na: 1\n",
        "params:\n---\na: 1\n",
        "---\nparams: {}\n---\na: 1\n",
        "# diagram\n\nparams:   # names\n  x: {default: 1}\n---   # the topology\na: 1\n",
        "params: {}\n...\n---\na: 1\n",
        "params: {}\n--- {a: 1}\n",
        "params: {}\r\n---\r\na: 1\r\n",
        "params: {}\n---\na: {{ 1 }}\n",
        "params: {}\n---\n#% if true\na: 1\n   #% endif",
    ],
)
def test_the_parameters_document_may_be_there_or_not(text: str) -> None:
    assert data(text) == {"a": 1}


def test_a_comment_stays_a_comment() -> None:
    assert data("a: 1 # {{ 'x' }}\n## b\n#b: 2\n") == {"a": 1}
    assert render_only(Source("x", "# {{ 1 }}\n## b\n#%if false\n#% endif\n")) == "# 1\n## b\n"


def test_jinja_in_the_parameters_document_is_not_rendered() -> None:
    assert data("params: {x: '{{ 1 }}'}\n---\na: '{{ x }}'\n") == {"a": "{{ 1 }}"}


def test_a_rendering_may_be_started_early_and_given_up() -> None:
    with start(Source("x.yaml", "a: {{ 1 }}")) as rendering:
        pass
    rendering.close()


def test_what_is_only_rendered_need_not_be_yaml() -> None:
    source = Source("x.yaml", PARAMS + "[{{ members }}\n")
    assert render_only(source, {"members": 7}) == "[7\n"
    assert render_only(Source("x.yaml", "[1\n")) == "[1\n"
    with pytest.raises(TopologyError, match="has no parameter 'member'"):
        render_only(source, {"member": 1})


LINES = PARAMS + "a: 1\n"  # so that the texts below begin on line 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b: [1\nc: 2", ["x.yaml:5:2: not YAML: did not find expected ',' or ']' while parsing a flow sequence, "]),
        ("b: {{ membrs }}", ["x.yaml:4:7: 'membrs' is not defined\n    did you mean 'members'?"]),
        ("b: 1\n#% for i in range(x)\n#% endfor", ["x.yaml:5:19: 'x' is not defined\n    declare it in the first "]),
        ("#% for i in names\nb: {{ i.c }}\n#% endfor", ["x.yaml:5:9: Jinja2: 'str object' has no attribute 'c'"]),
        ("#% for i in names\nb: 1", ["x.yaml:5:1: Jinja2: Unexpected end of template. Jinja was looking for "]),
        ("b: 1\nc: {{ 1 + }}", ["x.yaml:5:4: Jinja2: unexpected 'end of print statement'"]),
        ("#% frob\n", ["x.yaml:4:1: Jinja2: Encountered unknown tag 'frob'."]),
        ("b: {{ 1 / 0 }}", ["x.yaml:4:4: Jinja2: ZeroDivisionError: division by zero"]),
        ("b: {{ members | frob }}", ["x.yaml:4:4: Jinja2: No filter named 'frob'."]),
        (
            "b: {{ ''.__class__ }}",
            [
                "x.yaml:4:4: Jinja2 may not do this here: access to attribute '__class__' of 'str' object is unsafe.\n"
                "    a topology computes with its parameters and nothing else"
            ],
        ),
        *[
            (
                statement,
                [
                    "x.yaml:4:1: a topology is one file: it cannot include, import or extend another\n"
                    "    use a macro in this file"
                ],
            )
            for statement in ("#% include 'y'", "#% import 'y' as y", "#% from 'y' import z", "#% extends 'y'")
        ],
        ("---\nb: 1", ["x.yaml:4:1: a second document begins here; a topology is one"]),
        (
            "params: {}\n",
            [
                "x.yaml:4:1: parameters cannot stand here\n    they stand in a document of their own, which begins the "
                "file and ends with a line `---`"
            ],
        ),
        (
            "b: {{ members }}\nc: {x: 1, x: 2}\nd: !t {{ members }}",
            [
                "x.yaml:5:11: the key 'x' is given twice, first at x.yaml:5:5\n    remove one",
                "x.yaml:6:4: the tag '!t' means nothing here",
            ],
        ),
        (
            "#% for i in [1, 2]\nk{{ i }}: {x: {{ i }}, x: 2}\n#% endfor",
            [
                "x.yaml:5:15: the key 'x' is given twice, first at x.yaml:5:2\n    rendered as: k1: {x: 1, x: 2}",
                "x.yaml:5:15: the key 'x' is given twice, first at x.yaml:5:2\n    rendered as: k2: {x: 2, x: 2}",
            ],
        ),
        (
            "#% for i in [1, 2, 3]\nk{{ i }}:\n  x: 1\n  x: 2\n#% endfor",
            ["x.yaml:7:3: the key 'x' is given twice, first at x.yaml:6:3\n    remove one"],
        ),
    ],
)
def test_a_problem_names_the_line_of_the_users_own_file(text: str, expected: list[str]) -> None:
    found = problems(LINES + text)
    assert len(found) == len(expected)
    for one, beginning in zip(found, expected, strict=True):
        assert one.startswith(beginning)


def test_every_undefined_name_is_reported_at_once_unless_the_template_asks_for_it() -> None:
    text = "a: {{ membrs }}\n#% if x is defined\nb: {{ x }}\n#% endif\nc: {{ flg }}{{ y | default(1) }}\n"
    assert problems(PARAMS + text) == [
        "x.yaml:3:7: 'membrs' is not defined\n    did you mean 'members'?",
        "x.yaml:7:7: 'flg' is not defined\n    did you mean 'flag'?",
    ]


def test_wrong_parameters_are_reported_together_with_what_is_wrong_in_the_text() -> None:
    assert [line.split("\n")[0] for line in problems(PARAMS + "a: {{ membrs }}", members="x", flog=1)] == [
        "parameter members: 'x' is not an int",
        "x.yaml has no parameter 'flog'",
        "x.yaml:3:7: 'membrs' is not defined",
    ]
    assert [line.split("\n")[0] for line in problems(PARAMS + "a: 1\na: 2\n", members="x")] == [
        "parameter members: 'x' is not an int",
        "x.yaml:4:1: the key 'a' is given twice, first at x.yaml:3:1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params: {a: 1}\nname: x\n", "x.yaml:1:1: the parameters have no end\n    write a line `---` after them"),
        ("# x\nparams:\n  a: 1\n", "x.yaml:2:1: the parameters have no end\n    write a line `---` after them"),
        ("params: {a: [}\n---\nb: 1", "x.yaml:1:14: not YAML: did not find expected node content"),
        ("params: {range: 1}\n---\nb: {{ 1 }}", "x.yaml:1:10: the parameter name 'range' has a meaning of its own"),
        ("", "x.yaml:1:1: the file describes nothing"),
        ("params: {}\n---\n# nothing\n", "x.yaml:3:1: the file describes nothing"),
        ("#% if false\na: 1\n#% endif\n", "x.yaml:1:1: the file describes nothing"),
    ],
)
def test_a_wrong_frame_is_reported_with_its_place(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(expected)


def test_a_file_is_read_and_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    with pytest.raises(TopologyError) as caught:
        load(read_source(tmp_path / "a.yaml"))
    assert str(caught.value).startswith(f"{tmp_path}/a.yaml:2:1: not YAML")


PARENT = """
import sys
import time
from lab.topology.text import Source, load
early = set(sys.modules)
document = load(Source("x", "a: {{ 1 }}"))
assert document.place(("a",)).column == 4
print("yaml" in early, "jinja2" in sys.modules)
"""


def test_the_parent_never_imports_jinja_and_imports_yaml_only_once_the_child_is_started() -> None:
    result = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"


@pytest.mark.parametrize("line", ["\n", "\r", "# \n", " ", "%\n", "---\n", "params:\n", "#%\n"], ids=repr)
def test_eight_mebibytes_of_one_line_are_refused_in_bounded_time(line: str) -> None:
    began = time.monotonic()
    assert problems(line * ((8 << 20) // len(line)))
    assert time.monotonic() - began < 10
