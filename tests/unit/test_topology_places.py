"""Places: what a problem points at in the user's own file, through parameters, loops, macros and all.

In the texts below `▶` stands before the character that must be pointed at; it is no part of the file.
"""

from __future__ import annotations

import pytest

from lab.errors import Place
from lab.topology.places import EXCERPT, excerpt
from lab.topology.text import Document, Source, load

Path = tuple[str | int, ...]


def pointed(text: str) -> tuple[Document, int, int]:
    """The document of `text`, and the line and column of its pointer."""
    before, _, after = text.partition("▶")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return load(Source("x.yaml", before + after)), line, column


def check(text: str, path: Path, key: bool = False, rendered: str | None = None) -> None:
    document, line, column = pointed(text)
    assert document.place(path, key) == Place("x.yaml", line, column, rendered)


@pytest.mark.parametrize(
    ("text", "path", "key"),
    [
        ("▶a: 1\n", (), False),
        ("▶a: 1\n", ("a",), True),
        ("a: ▶1\n", ("a",), False),
        ("a:\n  ▶b: 1\n", ("a",), False),
        ("a:\n  - x\n  - ▶y\n", ("a", 1), False),
        ("a:\n  - x\n  - ▶y\n", ("a", 1), True),
        ("é: {'b': [x, {▶c: y}]}\n", ("é", "b", 1, "c"), True),
        ("a: 1\n▶7: x\n", (7,), True),
        ("a: 1\n▶7: x\n", ("7",), True),
        ("a: ▶&x {b: 1}\n", ("a",), False),
        ("a: ▶|\n  b\n", ("a",), False),
        ("a: &x {b: ▶1}\nc: *x\n", ("c", "b"), False),
        ("a: &x {b: 1}\nc: ▶*x\n", ("c",), False),
        ("a: &x {▶b: 1}\nc: {<<: *x}\n", ("c", "b"), True),
        ("a: x\r\nb: [▶y]\r\n", ("b", 0), False),
        ("# the diagram\n---\na: ▶x", ("a",), False),
        ("params: {}\n---\na: ▶x", ("a",), False),
        ("# the diagram: {{ a }}\n%YAML 1.2\n---\n\nparams:\n  a: 1\n--- # here\na: ▶x", ("a",), False),
        ("params: {}\n--- {a: ▶x}", ("a",), False),
    ],
)
def test_without_jinja_every_place_is_exact(text: str, path: Path, key: bool) -> None:
    check(text, path, key)


def test_a_lone_carriage_return_ends_a_line() -> None:
    assert str(load(Source("x.yaml", "a: x\rb: [y]\r")).place(("b", 0))) == "x.yaml:2:5"


@pytest.mark.parametrize(
    "path",
    [("a", "c"), ("a", 0), ("a", "b", "c", 5), ("a", "b", 0, "x")],
)
def test_a_path_beyond_the_data_gives_what_it_leads_through_last(path: Path) -> None:
    text = "a: {b: ▶[x]}" if len(path) > 2 else "a: ▶{b: [x]}"
    if path == ("a", "b", 0, "x"):
        text = "a: {b: [▶x]}"
    check(text, path)


LOOP = """\
# one member per round
params: {members: 3}
---
nodes:
  lan: {kind: switch}
#% for i in range(1, members + 1)
  "s{{ i }}":
    services: {dnsmasq: {zone: lab.test}}
#% endfor
links:
  #% for i in range(1, members + 1)
  - {endpoints: ["s{{ i }}:eth0", "lan"], addresses: {"s{{ i }}": ["fd00::{{ i }}/64"]}, mtu: 9000}
  #% endfor
  - [last]
"""
LINK = '- {endpoints: ["s2:eth0", "lan"], addresses: {"s2": ["fd00::2/64"]}, mtu: 9000}'


@pytest.mark.parametrize(
    ("at", "path", "key", "rendered"),
    [
        ("▶nodes:", ("nodes",), True, None),
        ("lan: ▶{kind", ("nodes", "lan"), False, None),
        ('▶"s{{ i }}":\n', ("nodes", "s1"), True, None),
        ('▶"s{{ i }}":\n', ("nodes", "s3"), True, None),
        ("{zone: ▶lab.test}", ("nodes", "s3", "services", "dnsmasq", "zone"), False, None),
        ("- ▶{endpoints", ("links", 2), False, None),
        ("{▶endpoints", ("links", 1, "endpoints"), True, None),
        ('[▶"s{{ i }}:eth0"', ("links", 1, "endpoints", 0), False, None),
        ('["s▶{{ i }}:eth0"', ("links", 1, "endpoints", 1), False, LINK),
        ('["s▶{{ i }}:eth0"', ("links", 1, "addresses"), True, LINK),
        ('{"s▶{{ i }}"', ("links", 1, "addresses", "s2", 0), False, LINK),
        ("fd00::▶{{ i }}", ("links", 1, "mtu"), False, LINK),
        ("- ▶[last]", ("links", 3), False, None),
        ("[▶last]", ("links", 3, 0), False, None),
    ],
)
def test_through_loops_the_line_is_exact_and_the_column_up_to_the_first_expression(
    at: str, path: Path, key: bool, rendered: str | None
) -> None:
    assert LOOP.count(at.replace("▶", "")) == 1
    check(LOOP.replace(at.replace("▶", ""), at), path, key, rendered)


@pytest.mark.parametrize(
    ("text", "path", "rendered"),
    [
        ("a: ▶{{ 1 }}\n", ("a",), "a: 1"),
        ("a: {% if true %}▶1{% else %}2{% endif %}\n", ("a",), None),
        ("a: [{% for i in [1, 2] %}▶x, {% endfor %}]\n", ("a", 1), None),
        ("a: [{% for i in [1, 2] %}x▶{{ i }}, {% endfor %}y]\n", ("a", 2), "a: [x1, x2, y]"),
        ("a: [{% for i in [1, 2] %}▶{{ i }}, {% endfor %}]\n", ("a", 1), "a: [1, 2, ]"),
        ("{{ 'a' -}}\n\n  : 1\nb:\n\n  ▶{{- ' ' }}2\n", ("b",), "b: 2"),
        ("{{ 'a' -}}\n\n  : 1\nb: ▶2\n", ("b",), None),
        ("a: 1\n{%- if true -%}\n\n{% endif %}\nb: [▶x]\n", ("b", 0), None),
        ("a: {{\n  1\n  + 1\n}}\nb: ▶3\n", ("b",), None),
        ("a: ▶{{\n  1\n  + 1\n}}\nb: 3\n", ("a",), "a: 2"),
        ("▶{{ 'a: 1\\nb: 2\\nc: [x]' }}\nd: 4\n", ("c", 0), "c: [x]"),
        ("{{ 'a: 1\\nb: 2\\nc: [x]' }}\nd: ▶4\n", ("d",), None),
        ("{# no\nbody #}a: ▶1\n", ("a",), None),
        ("{{ '' }}{% raw %}\na: ▶'{{ x }}'{% endraw %}\n", ("a",), None),
        ("a: 1\n#% if false\nb: 2\n#% endif\n\n\nc: ▶3\n", ("c",), None),
        ("a: 1\n#% set x = 3\nb: {c: ▶{{ x }}, d: {{ x }}}\n", ("b", "c"), "b: {c: 3, d: 3}"),
        ("é𝄞: ▶{{ 'é𝄞' }}\n", ("é𝄞",), "é𝄞: é𝄞"),
        ("é𝄞: {{ 'é𝄞' }}\nb: [é𝄞, ▶x]\n", ("b", 1), None),
        ("a: {{ 1 }}\r\nb: ▶2\r\n", ("b",), None),
        ("params: {x: 1}\n--- {a: ▶{{ x }}}", ("a",), "--- {a: 1}"),
    ],
)
def test_a_place_survives_what_jinja_does_to_lines(text: str, path: Path, rendered: str | None) -> None:
    check(text, path, rendered=rendered)


MACRO = "{% macro node(i) %}\n  s{{ i }}:\n    kind: ▶host\n    n: {{ i }}\n{% endmacro %}\n"


def test_what_a_macro_makes_stands_in_the_macro() -> None:
    check(MACRO + "nodes:\n{{ node(1) }}{{ node(2) }}", ("nodes", "s2", "kind"))


def test_what_a_macro_makes_of_an_expression_stands_at_that_expression() -> None:
    text = MACRO.replace("▶", "").replace("n: {{", "n: ▶{{")
    check(text + "nodes:\n{{ node(1) }}{{ node(2) }}", ("nodes", "s2", "n"), rendered="n: 2")


def test_an_indented_macro_keeps_its_places() -> None:
    text = "{% macro node() -%}\n  kind: x\n  on: [▶y]\n{%- endmacro %}\na:\n    {{ node() | indent(2) }}\nb: 1\n"
    check(text, ("a", "on", 0))


def test_what_a_filter_block_or_a_captured_text_makes_stands_where_it_was_written() -> None:
    check("{% filter upper %}\na: [▶x]\n{% endfilter %}\n", ("A", 0))
    check("{% set x %}\na: [▶x]\n{% endset %}\n{{ x }}", ("a", 0))


def test_a_template_that_measures_what_it_captured_gives_the_place_of_its_use() -> None:
    text = "{% set x %}abc{% endset %}\na: ▶{{ x | length }}\nb: {{ x }}\n"
    check(text, ("a",), rendered="a: 3")
    check(text.replace("▶", "").replace("b: {{", "b: ▶{{"), ("b",), rendered="b: abc")


def test_a_template_that_measures_its_own_output_still_gives_the_rendered_line() -> None:
    recursive = "{% for x in [[0]] recursive %}{% if x is iterable %}{{ loop(x)|length }}{% else %}abc{% endif %}{% endfor %}"
    check(f"params: {{}}\n---\n▶a: {recursive}\n", ("a",), rendered="a: 3")


def test_texts_that_look_like_marks_do_no_harm() -> None:
    text = "a: '{{ '\\U0010f001\\U000f0000\\U000f0000' }}'\nb: 1\n"
    document = load(Source("x.yaml", text))
    assert document.data == {"a": "\U0010f001\U000f0000\U000f0000", "b": 1}
    assert document.place(("b",)).line in (1, 2)


def test_an_excerpt_is_one_line_around_the_place_and_fits_a_terminal() -> None:
    line = "  " + " ".join(f"{i:03}" for i in range(100)) + "  "
    text = "before\n" + line + "\nafter"
    for index in range(7, 7 + len(line)):
        shown = excerpt(text, index)
        assert len(shown) <= EXCERPT
        assert text[index] == " " or line[index - 7 : index - 4].strip() in shown
    assert excerpt(text, 9).startswith("000 001")
    assert excerpt(text, 7 + len(line)).endswith("098 099")
    assert excerpt("a: \x1b[31m\ud800", 3) == "a: \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
