"""Completion as the shells do it: each is given our script and asked what it would offer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.commands import LAB, SECONDS, lab, well

TOPOLOGY = """\
params: {members: 3, mode: {default: fast, choices: [fast, slow]}, aloud: false}
---
name: mine
nodes: {a: {}}
"""
TRIES = 15  # of which one must be quick: a busy machine makes each slower, and none quicker
QUICK = 1.0  # seconds for an answer, where the modules may have to be compiled first; `make bench` has the figures

Ask = Callable[[str], list[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a topology, a test and a folder, and a host with two labs and what is none; `lab` is on the PATH."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("LAB_RUN_DIR", str(tmp_path / "run"))
    record("monday", {"client": "host", "lan": "switch"})
    record("tuesday", {"r1": "router"})
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "office.yaml").write_text(TOPOLOGY)
    (here / "sub" / "inner.yml").write_text(TOPOLOGY)
    (here / "notes.txt").touch()
    (here / "test_mine.py").touch()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "lab"
    program.write_text(f'#!/bin/sh\nexec {" ".join(LAB)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(here)
    return here


def home() -> Path:
    path = Path(os.environ["LAB_RUN_DIR"]) / str(uuid.uuid4())
    path.mkdir()
    return path


def record(name: object, nodes: object) -> None:
    (home() / "lab.json").write_text(json.dumps({"name": name, "nodes": nodes}))


def in_bash(line: str) -> list[str]:
    """What readline would be offered: the words are parted as bash itself parts them, at = and : too."""
    script = r"""
        source <(lab completion bash)
        complete -p lab >/dev/null || exit 9
        compopt() { echo "compopt $1 $2" >&2; }   # works only while readline completes
        COMP_WORDS=($WORDS); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        [[ $LINE == *" " ]] && { COMP_WORDS+=(""); COMP_CWORD=$((COMP_CWORD + 1)); }
        _lab_completion lab
        printf '%s\n' "${COMPREPLY[@]}"
    """
    words = line.replace("=", " = ")
    env = {**os.environ, "LINE": line, "WORDS": words}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout.split("\n")[:-1] + [word for word in done.stderr.split("\n") if word.startswith("compopt")]


def in_fish(line: str) -> list[str]:
    script = "lab completion fish | source; complete -C $argv[1]"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, line], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stderr == ""
    return [offered.split("\t")[0] for offered in done.stdout.splitlines()]


def in_zsh(line: str) -> list[str]:
    """The function itself, with what it hands to the completion system printed instead: `compadd` and `_describe`."""
    script = r"""
        compdef() { [[ "$*" == "_lab_completion lab" ]] || exit 9 }
        compadd() { print -rl -- ${(P)@[-1]} }
        _describe() { print -rl -- ${(P)3} }
        _path_files() { print -r -- "files" }
        eval "$(lab completion zsh)"
        words=(${(z)LINE}); CURRENT=$#words
        [[ $LINE == *" " ]] && { words+=(""); CURRENT=$#words }
        _lab_completion
    """
    env = {**os.environ, "LINE": line}
    done = subprocess.run(["zsh", "-f", "-c", script], env=env, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stderr == ""
    return [offered.split(":")[0] if not offered.startswith("tcp") else offered for offered in done.stdout.splitlines()]


SHELLS: Mapping[str, Ask] = {"bash": in_bash, "fish": in_fish, "zsh": in_zsh}
OFFERS = {
    "lab pl": {"plan"},
    "lab exec ": {"monday", "tuesday"},
    "lab -v shell mon": {"monday"},
    "lab exec monday ": {"client", "lan"},
    "lab inspect tue": {"tuesday"},
    "lab up two": {"two-hosts"},
    "lab up off": {"office", "office.yaml"},
    "lab validate su": {"sub/"},
    "lab validate sub/": {"sub/inner.yml"},
    "lab run rp": {"rp-filter"},
    "lab run test": {"test_mine.py"},
    "lab up office.yaml --set ": {"members=", "mode=", "aloud="},
    "lab run rp-filter --set la": {"lan="},
    "lab run --set rp_": {"rp_filter="},
    "lab ls -f ": {"table", "json"},
    "lab wait monday cl": {"client"},
    "lab wait monday client ca": {"carrier"},
    "lab wait monday client gone ro": {"route"},
    "lab wait monday client listening ": {"tcp/", "udp/"},
    "lab wait monday client route ": {"default"},
    "lab up --no": {"--no-wait"},
    "lab completion ": {"bash", "zsh", "fish"},
}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_offers_the_same(place: Path, shell: str) -> None:
    wrong = {}
    for line, offered in OFFERS.items():
        found = {each for each in SHELLS[shell](line) if not each.startswith("compopt")}
        if found != offered:
            wrong[line] = found
    assert wrong == {}


@pytest.mark.parametrize("shell", SHELLS)
def test_all_commands_are_offered(place: Path, shell: str) -> None:
    from lab.cli.app import cli

    assert {*SHELLS[shell]("lab ")} == set(cli.commands)


def test_values_of_a_parameter_are_offered_where_they_are_known(place: Path) -> None:
    assert set(in_fish("lab up office.yaml --set mode=")) == {"mode=fast", "mode=slow"}
    assert set(in_fish("lab up office.yaml --set aloud=t")) == {"aloud=true"}
    assert set(in_zsh("lab up office.yaml --set mode=s")) == {"mode=slow"}


def test_bash_gets_only_what_stands_behind_an_equals_sign(place: Path) -> None:
    assert in_bash("lab up office.yaml --set mode=s") == ["slow"]
    assert in_bash("lab up office.yaml --set mode=") == ["fast", "slow"]


def test_bash_puts_words_together_that_it_parted_at_colons(place: Path) -> None:
    words = "lab\nwait\nmonday\nclient\naddress\n2001\n:\ndb8\n::\n1\n--f"
    env = {"COMP_WORDS": words, "COMP_CWORD": "10", "_LAB_COMPLETE": "bash_complete"}
    assert well_answered(env) == ["plain,--format"]


def test_bash_adds_no_space_after_what_goes_on(place: Path) -> None:
    assert in_bash("lab validate su") == ["sub/", "compopt -o nospace"]
    assert in_bash("lab up office.yaml --set mem") == ["members=", "compopt -o nospace"]
    assert in_bash("lab exec mon") == ["monday"]


def test_a_command_on_a_node_is_completed_by_programs_and_then_by_files(place: Path) -> None:
    assert "fish" in in_bash("lab exec monday client fis")
    assert "fish" in in_bash("lab exec monday client -- fis")
    assert in_bash("lab exec monday client -- cat no")[-1] == "compopt -o default"
    assert "notes.txt" in in_fish("lab exec monday client -- cat no")
    assert in_zsh("lab exec monday client -- cat no") == ["files"]


def test_zsh_completes_for_real(place: Path) -> None:
    """An interactive zsh with its own completion system, on a terminal of zpty: the key is pressed, the line is read."""
    script = r"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PS1= ; autoload -Uz compinit && compinit -u -D; source <(lab completion zsh)'
        zpty -w shell 'lab() { print -r -- got: "$@" END }; print -r ready$((6*7))'
        zpty -r -m shell seen '*ready42*'
        zpty -w -n shell $'lab exec mon\tcl\t\n'
        zpty -r -m shell seen '*got: exec monday* END*'
        print -r -- $seen
        zpty -d shell
    """
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert "got: exec monday client END" in done.stdout


BROKEN: Mapping[str, Callable[[], object]] = {
    "no json": lambda: (home() / "lab.json").write_text("{{{"),
    "half of it": lambda: (home() / "lab.json").write_text('{"name": "mon'),
    "no object": lambda: (home() / "lab.json").write_text("[1, 2]"),
    "no bytes of a text": lambda: (home() / "lab.json").write_bytes(b"\xff\xfe\x00"),
    "nested without end": lambda: (home() / "lab.json").write_text("[" * 100_000),
    "a folder": lambda: (home() / "lab.json").mkdir(mode=0o700),
    "nothing in it": home,
    "a name that is none": lambda: record(7, {"a": "host"}),
    "nodes that are none": lambda: record("wednesday", ["a"]),
    "kinds that are none": lambda: record("monday2", {"a": 7}),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_record_of_a_lab_breaks_no_completion(place: Path, breaks: Callable[[], object]) -> None:
    breaks()
    assert {"monday", "tuesday"} <= set(in_fish("lab exec "))
    assert set(in_fish("lab exec monday ")) == {"client", "lan"}


def test_a_broken_topology_has_no_parameters_and_breaks_nothing(place: Path) -> None:
    for text in ("params: {{{\n---\n", "params: [1]\n---\n", "params:\n", "\udcff"):
        (place / "office.yaml").write_bytes(text.encode(errors="surrogateescape"))
        assert in_fish("lab up office.yaml --set ") == []
    assert in_fish("lab up nowhere.yaml --set ") == []


def test_no_run_directory_and_no_such_lab_are_no_names(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_fish("lab exec thursday ") == []
    monkeypatch.setenv("LAB_RUN_DIR", str(place / "nowhere"))
    assert in_fish("lab exec ") == []


def well_answered(env: Mapping[str, str]) -> list[str]:
    said = lab(env=env)
    assert (said.status, said.stderr) == (0, "")
    return said.stdout.splitlines()


ANSWERS = ["lab exec ", "lab up ", "lab up office.yaml --set ", "lab run rp-filter --set ", "lab wait monday client "]


@pytest.mark.parametrize("line", ANSWERS)
def test_an_answer_is_quick_and_loads_no_large_library(place: Path, line: str) -> None:
    code = (
        "import sys; from lab.cli.app import main; status = main([]); "
        "print(sorted({'pydantic', 'pyroute2', 'rich', 'pytest', 'jinja2'} & set(sys.modules)), file=sys.stderr)"
    )
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_LAB_COMPLETE": "bash_complete"}
    took: list[float] = []
    while min(took, default=QUICK) >= QUICK and len(took) < TRIES:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=True
        )
        took.append(time.monotonic() - start)
        assert done.stderr == "[]\n"
        assert done.stdout.startswith("plain,")
    assert min(took) < QUICK


def test_the_scripts_are_well_formed(tmp_path: Path) -> None:
    for shell, option in (("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")):
        file = tmp_path / shell
        file.write_text(well("completion", shell).stdout)
        done = subprocess.run([shell, option, file], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_shell_that_is_none_of_these_is_2() -> None:
    said = lab("completion", "tcsh")
    assert (said.status, said.stdout) == (2, "")
    assert "bash" in said.stderr
