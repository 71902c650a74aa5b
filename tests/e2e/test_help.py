"""Every --help is a page that can be worked by: what it says of commands, options, names and variables is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from support.commands import lab, well

from lab.cli import candidates
from lab.cli.app import _SECTIONS, cli
from lab.cli.options import asks_for_json

COMMANDS = {name: command for name, command in cli.commands.items() if command.name == name}
WIDTH = 80
HELPS = ("-h", "--help")
LIVING = {"monday", "client", "r1"}
"""Names that examples give to labs and nodes."""


def pages() -> Iterator[tuple[str, str]]:
    """(name, --help) of every command, and of lab itself."""
    with click.Context(cli, info_name="lab", help_option_names=[*HELPS]) as context:
        yield "", cli.get_help(context)
        for name, command in COMMANDS.items():
            with click.Context(command, info_name=name, parent=context) as inner:
                yield name, command.get_help(inner)


PAGES = dict(pages())


def examples(page: str) -> list[str]:
    """The lines below `Example:`, as far as they are indented more than it."""
    found = re.search(r"^( *)Example:\n((?:\1 +\S.*\n)+)", page, re.MULTILINE)
    return [line.strip() for line in found[2].splitlines()] if found else []


EVERY = [(name, line) for name, page in PAGES.items() for line in examples(page)]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_at_most_80_columns_wide(name: str) -> None:
    assert [line for line in PAGES[name].splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_begins_with_one_line_that_says_what_it_is_for_and_has_an_example(name: str) -> None:
    usage, empty, summary, *_ = PAGES[name].splitlines()
    assert usage.startswith("Usage: lab")
    assert (empty, summary[:2]) == ("", "  ")
    lines = examples(PAGES[name])
    assert any(line.startswith(f"lab {name}".strip()) or f"(lab {name}" in line for line in lines), lines


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_says_what_it_does_beyond_its_first_line(name: str) -> None:
    """The first line is a whole sentence and stands alone: lists of commands show it uncut."""
    paragraphs = (COMMANDS[name].help or "").split("\n\n")
    assert "\n" not in paragraphs[0].strip()
    assert paragraphs[0].strip().endswith(".")
    assert len(paragraphs[1].split()) > 10


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told_in_words(name: str) -> None:
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(("name", "line"), EVERY, ids=[line for _, line in EVERY])
def test_an_example_can_be_typed_as_it_stands(name: str, line: str) -> None:
    """Its command, options and arguments are there, and so are shipped topologies and scenarios that it names."""
    words = shlex.split(line, comments=True)
    if words[0] == "source":
        words = [word.strip("<()") for word in words[1:]]
    if ">" in words:
        words = words[: words.index(">")]
    if words[0] == "sudo":
        words = words[1:]
    assert words[0] == "lab"
    command = cli.commands[words[1]]
    with click.Context(cli, info_name="lab") as context:
        parsed = command.make_context(words[1], words[2:], parent=context)
    known = {"topology": candidates.Topologies(), "scenario": candidates.Scenarios()}
    for parameter, of in known.items():
        value = parsed.params.get(parameter) or ()
        for each in (value,) if isinstance(value, str) else value:
            shipped = {shipped for shipped, about in of.names(parsed, "") if about}
            assert each in shipped or each.endswith((".yaml", ".py")), each
    assert parsed.params.get("lab", "monday") in {*LIVING, "two-hosts"}


def test_the_conditions_of_examples_can_be_read() -> None:
    from lab.observe import spoken
    from lab.observe.conditions import Ran

    for line in examples(PAGES["wait"]):
        with click.Context(cli, info_name="lab") as context:
            parsed = cli.commands["wait"].make_context("wait", shlex.split(line)[2:], parent=context)
        assert spoken.read(parsed.params["condition"], ["client"], lambda *_: Ran(0, ""))


def test_wait_tells_of_every_kind_of_condition() -> None:
    from lab.observe import spoken

    told = re.findall(r"^ +NODE (\w+) ", PAGES["wait"], re.MULTILINE)
    assert set(told) == {*spoken.KINDS, spoken.GONE}


@pytest.mark.parametrize("name", PAGES)
def test_see_also_names_commands_that_there_are(name: str) -> None:
    for named in re.findall(r"See also:((?:.|\n)*?)\n\n", PAGES[name]):
        for each in named.split(","):
            word, other = each.split()
            assert (word, other in cli.commands) == ("lab", True)


def test_lab_lists_every_command_once_in_its_section() -> None:
    page = PAGES[""]
    places = [page.index(f"\n{title}:\n") for title in _SECTIONS]
    assert places == sorted(places)
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name} +\S", page, re.MULTILINE)) == 1
    assert "Others:" not in page
    assert not re.search(r"^  (deploy|destroy) ", page, re.MULTILINE)


@pytest.mark.parametrize("variable", ["LAB_FORMAT", "LAB_VERBOSE", "LAB_QUIET", "LAB_RUN_DIR"])
def test_lab_tells_its_variables(variable: str) -> None:
    assert variable in PAGES[""]


def test_help_is_what_the_command_prints() -> None:
    for help_ in HELPS:
        assert well("wait", help_).stdout.split() == PAGES["wait"].split()


def test_what_names_a_lab_a_node_or_a_file_is_completed_in_every_command() -> None:
    """So that a new command has what the others have."""
    for command in COMMANDS.values():
        for parameter in command.params:
            kind = candidates._BY_NAME.get(parameter.name or "")
            assert kind is None or type(parameter.type).shell_complete is not click.ParamType.shell_complete, parameter


@pytest.mark.parametrize(
    ("words", "json"),
    [
        ("ls --x -f json", True),
        ("-fjson ls --x", True),
        ("ls --x --format=json", True),
        ("ls --x --format json", True),
        ("ls --x -f table", False),
        ("exec a b -- cat -f json", False),
        ("ls json", False),
    ],
)
def test_json_is_heard_wherever_it_stands(words: str, json: bool) -> None:
    assert asks_for_json(words.split()) == json


def test_an_option_that_is_wrong_before_f_json_is_an_envelope_too() -> None:
    said = lab("ls", "--unknown", "-f", "json")
    (problem,) = said.json("error")
    assert said.status == 2
    assert "--unknown" in problem["message"]
    assert problem["message"] in said.stderr
