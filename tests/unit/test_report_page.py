"""The page of a run as text: failures first, everything escaped, nothing that a browser would fetch or run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lab.drawing.picture import Box, Picture
from lab.report import page
from lab.report.results import Capture, Check, Frame, Outcome, Recorded, Run, Step, Table

EVIL = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>{{ 7*7 }}</pre></details>\x00\x1b[31m"
PICTURE = Picture("x", (Box("a", "host"),), ())
FRAME = Frame(10.2, EVIL, "sends", EVIL, EVIL, 42)
RECORDED = Recorded(
    EVIL,
    {EVIL: EVIL},
    (Step(EVIL, "run", EVIL, 10.1, 0.2, EVIL), Step("a", "spawn", "sleep", 10.2)),
    3,
    (Capture((EVIL,), EVIL, (FRAME,), 5, {EVIL: 2}),),
    Picture(EVIL, (Box(EVIL, "host", (EVIL,)),), ()),
)
HELD = Check("one", "test_a", "It holds", Outcome.HELD, 0.5, started=10.0, recorded=replace(RECORDED, picture=PICTURE))
FAILED = Check(
    EVIL, EVIL, EVIL, Outcome.FAILED, 0.5, 1, EVIL, EVIL, {EVIL: EVIL}, {EVIL: Table((EVIL,), ((EVIL,),))}, 10.5, RECORDED
)
SKIPPED = Check("one", "test_c", "It is skipped", Outcome.SKIPPED, 0.0, message="not today", started=11.0)
RUN = Run((HELD, FAILED, SKIPPED), 10.0, 1.5, (EVIL,), about={"one": EVIL})

MEANT = {"html", "head", "meta", "link", "title", "style", "body", "header", "section", "h1", "h2", "p", "ul", "li", "b", "a"}
MEANT |= {"div", "span", "code", "pre", "details", "summary", "figure", "figcaption"}
MEANT |= {"table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "text", "polygon", "polyline"}


class Tags(HTMLParser):
    """Every element with its attributes, and the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def tags() -> Tags:
    return Tags(page.render(RUN))


def test_no_text_becomes_an_element(tags: Tags) -> None:
    assert {tag for tag, _ in tags.elements} <= MEANT
    assert not [name for _, attributes in tags.elements for name in attributes if name.startswith("on")]


def test_what_was_said_is_shown_as_it_was_said(tags: Tags) -> None:
    whole = "".join(tags.texts)
    assert whole.count("<script>alert('x')</script>") > 12
    assert "{{ 7*7 }}" in whole
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", whole)


def test_nothing_is_fetched_and_nothing_is_run(tags: Tags) -> None:
    for tag, attributes in tags.elements:
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or (tag, value) == ("link", "data:,")
    assert "default-src 'none'" in page.render(RUN)
    assert not re.search(r"url\(|@import", page.render(RUN))


def test_failures_come_first_and_are_told_once(tags: Tags) -> None:
    ids = [attributes["id"] for tag, attributes in tags.elements if tag == "details" and "id" in attributes]
    assert ids == ["check-1", "check-0", "check-2"]


def test_every_link_leads_to_something_on_the_page(tags: Tags) -> None:
    ids = {attributes["id"] for _, attributes in tags.elements if "id" in attributes}
    led = {(attributes["href"] or "").removeprefix("#") for tag, attributes in tags.elements if tag == "a"}
    assert led and led <= ids


def test_a_failure_is_open_and_what_held_is_folded(tags: Tags) -> None:
    opened = {
        attributes["id"]: "open" in attributes for tag, attributes in tags.elements if tag == "details" and "id" in attributes
    }
    assert opened == {"check-0": False, "check-1": True, "check-2": False}


def test_one_picture_stands_for_all_checks_of_a_scenario_that_have_it() -> None:
    many = tuple(replace(HELD, name=f"test_{number}") for number in range(5))
    assert page.render(Run(many, 10.0, 1.0)).count("<svg") == 1
    other = replace(HELD, recorded=Recorded(picture=Picture("x", (Box("other", "host"),), ())))
    text = page.render(Run((*many, other), 10.0, 1.0))
    assert text.count("<svg") == 2
    assert "In 5 of 6 checks" in text


def test_without_graphviz_the_page_says_so_and_has_the_picture_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    text = page.render(Run((HELD,), 10.0, 1.0))
    assert "apt-get install graphviz" in text
    assert "flowchart TB" in text


@pytest.mark.parametrize(
    ("started", "seconds", "css"),
    [
        (10.0, 5.0, "left:0.000%;width:50.000%"),
        (15.0, 5.0, "left:50.000%;width:50.000%"),
        (15.0, None, "left:50.000%;width:0.350%"),
        (9.0, 1.0, "left:0.000%;width:10.000%"),
        (99.0, 9.0, "left:100.000%;width:0.350%"),
    ],
)
def test_a_bar_lies_where_its_time_is_and_never_outside(started: float, seconds: float | None, css: str) -> None:
    assert page.place(started, seconds, 10.0, 10.0) == css


@pytest.mark.parametrize(("seconds", "said"), [(0.00012, "0.12 ms"), (0.0125, "12 ms"), (1.5, "1.50 s"), (None, "")])
def test_times_are_short(seconds: float | None, said: str) -> None:
    assert page.took(seconds) == said


def test_a_run_without_any_check_is_a_page_too() -> None:
    assert "nothing was checked" in page.render(Run((), 0.0, 0.0, ("x.py cannot be collected",)))
