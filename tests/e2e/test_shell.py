"""`lab shell`: the user's own shell, with his start-up files, and a prompt that says where he is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import lab, well
from support.screens import on_screen
from support.topologies import PAIR

from lab.live import unique_name

pytestmark = pytest.mark.root

# For each shell: the user's start-up file, a line of it that does something, and what leaves a mark in it.
SHELLS = {
    "bash": (".bashrc", "export MINE=7; alias greet='echo hello'"),
    "zsh": (".zshrc", "export MINE=7; alias greet='echo hello'"),
    "fish": (".config/fish/config.fish", "set -gx MINE 7; alias greet 'echo hello'"),
    "dash": (".shrc", "export MINE=7; greet() { echo hello; }"),
    "sh": (".shrc", "export MINE=7; greet() { echo hello; }"),
}
ESCAPES = re.compile(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


@pytest.fixture(scope="module")
def pair(own_run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = unique_name("shell")
    file = tmp_path_factory.mktemp("pair") / "pair.yaml"
    file.write_text(PAIR.format(name=name))
    well("up", file)
    well("exec", name, "b", "true")
    yield name
    well("down", name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home, where all that a shell writes goes too."""
    for file, text in SHELLS.values():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text + "\n")
    return tmp_path


def of(home: Path, shell: str) -> dict[str, str]:
    path = shutil.which(shell)
    assert path, f"{shell} is not installed"
    own = {"ENV": str(home / ".shrc")} if SHELLS[shell][0] == ".shrc" else {}
    folders = {"XDG_CONFIG_HOME": str(home / ".config"), "XDG_DATA_HOME": str(home / ".local")}
    return {"SHELL": path, "HOME": str(home), **folders, **own}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_prompt_names_lab_and_node_and_the_users_own_files_are_read(pair: str, home: Path, shell: str) -> None:
    words = ("shell", pair, "b")
    with on_screen(*words, env=of(home, shell)) as (process, screen):
        screen.shows(rf"\[{pair} b\] \S+ .*# ")
        screen.type("greet; echo mine=$MINE lab=$LAB_NAME node=$LAB_NODE; ip -4 -br addr\r")
        screen.shows(r"hello\r?\n")
        screen.shows(rf"mine=7 lab={pair} node=b\r?\n")
        screen.shows(r"10\.0\.0\.2/24")
        screen.shows(rf"\[{pair} b\] ")
        screen.type("exit 5\r")
        screen.ends()
        assert process.wait() == 5


@pytest.mark.parametrize("shell", SHELLS)
def test_no_trace_of_our_start_is_left_in_the_shell(pair: str, home: Path, shell: str) -> None:
    """What a shell of the user's finds that is started in it: his own ENV and ZDOTDIR, or none, and nothing of ours."""
    with on_screen("shell", pair, "b", env=of(home, shell)) as (_process, screen):
        screen.shows(rf"\[{pair} b\] ")
        screen.type("env | grep -E '^(ENV|ZDOTDIR|LAB_USER|_lab)'; echo do''ne\r")
        screen.shows(r"done\r?\n")
        screen.type("exit\r")
        shown = ESCAPES.sub("", screen.ends())
    found = set(re.findall(r"^((?:ENV|ZDOTDIR|LAB_USER\w*|_lab\w*)=.*?)\r?$", shown, re.MULTILINE))
    assert found == ({f"ENV={home}/.shrc"} if SHELLS[shell][0] == ".shrc" else set())


def test_a_bash_whose_prompt_is_made_anew_each_time_names_them_too(pair: str, home: Path) -> None:
    (home / ".bashrc").write_text("PROMPT_COMMAND='PS1=\"mine> \"'\n")
    with on_screen("shell", pair, "b", env=of(home, "bash")) as (_process, screen):
        screen.shows(rf"\[{pair} b\] mine> ")
        screen.type("true\r")
        screen.shows(rf"\[{pair} b\] mine> ")
        screen.type("exit\r")
        screen.ends()


def test_a_zsh_whose_prompt_is_made_anew_each_time_names_them_too(pair: str, home: Path) -> None:
    (home / ".zshrc").write_text("precmd() { PROMPT='mine> ' }\n")
    with on_screen("shell", pair, "b", env=of(home, "zsh")) as (_process, screen):
        for _ in range(2):
            screen.shows(rf"\[{pair} b\] mine> ")
            screen.type("true\r")
        screen.shows(rf"\[{pair} b\] mine> ")
        screen.type("exit\r")
        screen.ends()


def test_a_zsh_has_the_users_own_directory_of_start_up_files(pair: str, home: Path) -> None:
    """Given from outside, or chosen by his .zshenv."""
    mine = home / "mine"
    mine.mkdir()
    (mine / ".zshrc").write_text("echo read''mine\n")
    (home / ".zshenv").write_text(f"ZDOTDIR={mine}\n")
    for env in ({}, {"ZDOTDIR": str(mine)}):
        with on_screen("shell", pair, "b", env={**of(home, "zsh"), **env}) as (_process, screen):
            screen.shows("readmine")
            screen.shows(rf"\[{pair} b\] ")
            screen.type("echo in=$ZDOTDIR\r")
            screen.shows(rf"in={mine}\r?\n")
            screen.type("exit\r")
            screen.ends()


def test_exec_has_the_names_of_lab_and_node_in_its_environment(pair: str) -> None:
    assert well("exec", pair, "b", "--", "sh", "-c", "echo $LAB_NAME $LAB_NODE").stdout == f"{pair} b\n"


def test_a_shell_that_there_is_not_is_125(pair: str) -> None:
    said = lab("shell", pair, "b", env={"SHELL": "/nowhere/bash"})
    assert (said.status, said.stdout) == (125, "")
    assert "/nowhere/bash" in said.stderr
