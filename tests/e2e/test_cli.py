"""The commands as a user types them: what they print, where they print it, and the status that they end with."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from support.commands import LAB, SECONDS, Said, host, lab, started, well
from support.privilege import without_privilege
from support.topologies import ALONE, EVERY_STEP, PAIR
from support.world import NETNS, look, run_directory

from lab import __version__
from lab.live import unique_name
from lab.substrate import features

root = pytest.mark.root

Write = Callable[[str], Path]
MEMBERS = """\
params: {{members: 2}}
---
name: {name}
nodes:
#% for i in range(members)
  "n{{{{ i }}}}": {{}}
#% endfor
"""
WRONG = "name: {name}\nnodes: {{a: {{knid: host}}}}\nlinks: [{{endpoints: [a, c]}}]\n"
STAR = """\
name: {name}
nodes:
  lan: {{kind: switch}}
#% for i in range(1000)
  "h{{{{ i }}}}": {{}}
#% endfor
links:
#% for i in range(1000)
  - {{endpoints: ["h{{{{ i }}}}", lan], addresses: {{"h{{{{ i }}}}": "10.0.{{{{ i // 200 }}}}.{{{{ i % 200 + 1 }}}}/16"}}}}
#% endfor
"""


@pytest.fixture(scope="module")
def pair(own_run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two hosts that are up while this module runs."""
    name = unique_name("cli")
    file = tmp_path_factory.mktemp("pair") / "pair.yaml"
    file.write_text(PAIR.format(name=name))
    well("up", file)
    for node in ("a", "b"):  # what a node's first command makes stays until `down`; so no test is the first
        well("exec", name, node, "true")
    yield name
    well("down", name)


# -- about a file, without privilege


def test_version_and_help_are_0_and_say_what_they_are_asked() -> None:
    assert well("--version").stdout == f"lab {__version__}\n"
    assert "lab exec monday client -- ping" in well("exec", "--help").stdout


def test_every_command_has_an_example_in_its_help() -> None:
    from lab.cli.app import cli

    for name, command in cli.commands.items():
        assert f"lab {command.name}" in (command.help or ""), name


def test_validate_says_that_a_file_is_well_and_how_large_it_is(topology: Write, name: str) -> None:
    file = topology(MEMBERS)
    assert well("validate", file, "--set", "members=5").stdout == f"{file}: {name} is well: 5 nodes, 0 links\n"
    assert well("validate", file, "--set", "members=1", "-f", "json").json("topology") == {
        "name": name,
        "nodes": 1,
        "links": 0,
        "params": {"members": 1},
    }


def test_validate_tells_every_problem_at_once_with_its_place(topology: Write) -> None:
    file = topology(WRONG)
    said = lab("validate", file)
    assert (said.status, said.stdout) == (2, "")
    assert said.stderr.splitlines()[0] == "lab: 2 problems"
    assert f"{file}:2:13: unknown key 'knid'\n    did you mean 'kind'?" in said.stderr
    assert f"{file}:3:25: node 'c' does not exist" in said.stderr


def test_without_privilege_validate_says_what_it_could_not_try(topology: Write) -> None:
    done = without_privilege(*LAB, "validate", topology(PAIR))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "lab: what this host has for it was not tried: that needs root\n"


@pytest.mark.parametrize("words", [("up", "two-hosts"), ("down", "x"), ("prune",), ("inspect", "x")])
def test_without_privilege_a_command_that_needs_some_is_3_and_says_so(words: tuple[str, ...]) -> None:
    done = without_privilege(*LAB, *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs root\n    run it as root, for example with sudo" in done.stderr


def test_render_prints_the_file_with_its_parameters_filled_in(topology: Write, name: str) -> None:
    file = topology(MEMBERS)
    text = well("render", file, "--set", "members=3").stdout
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        f"name: {name}",
        "nodes:",
        '"n0": {}',
        '"n1": {}',
        '"n2": {}',
    ]
    assert well("render", file, "--set", "members=3", "-f", "json").json("rendered") == {"text": text}


def test_plan_prints_the_steps_in_order_and_in_words(topology: Write) -> None:
    file = topology(PAIR)
    lines = well("plan", file).stdout.splitlines()
    assert lines[0] == " 1  make the network namespace of a, with lab's baseline of sysctls"
    assert lines[2] == " 3  join a:eth0 and b:eth0 by a veth pair"
    steps = well("plan", file, "-f", "json").json("plan")
    assert [f"{step['number']:2}  {step['step']}" for step in steps] == lines
    assert {step["node"] for step in steps} == {"a", "b"}


def test_schema_is_a_schema_and_takes_a_topology() -> None:
    schema = json.loads(well("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"name": "x", "nodes": {"a": None}}, schema)


def test_scenarios_lists_what_is_shipped() -> None:
    assert well("scenarios").stdout.splitlines()[0].split() == ["SCENARIO", "WHAT", "IT", "IS", "ABOUT", "CHECKS"]
    assert "rp-filter" in [each["name"] for each in well("scenarios", "-f", "json").json("scenarios")]


# -- global options, and calls that are wrong


@pytest.mark.parametrize("words", [("-f", "json", "ls"), ("ls", "-f", "json"), ("ls", "--format=json")])
def test_a_global_option_is_taken_before_and_after_the_command(words: tuple[str, ...]) -> None:
    assert isinstance(well(*words).json("labs"), list)


def test_global_options_have_environment_variables_and_the_command_line_wins(topology: Write) -> None:
    file = topology(PAIR)
    assert lab("validate", file, env={"LAB_FORMAT": "json"}).json("topology")["nodes"] == 2
    assert "is well" in lab("validate", file, "-f", "table", env={"LAB_FORMAT": "json"}).stdout
    assert lab("validate", file, env={"LAB_QUIET": "1"}).stdout == ""
    assert lab("ls", env={"LAB_FORMAT": "xml"}).status == 2


@pytest.mark.parametrize(
    "words", [("frobnicate",), ("ls", "--frobnicate"), ("up",), ("up", "x", "--set", "novalue"), ("-f", "xml", "ls")]
)
def test_a_call_that_is_wrong_is_2_and_says_how_to_get_help(words: tuple[str, ...]) -> None:
    said = lab(*words)
    assert (said.status, said.stdout) == (2, "")
    assert "--help' for help." in said.stderr


WRONG_CALLS = {
    "an unknown command": ("-f", "json", "frobnicate"),
    "an unknown option": ("-f", "json", "ls", "--frobnicate"),
    "a value of the wrong shape, with -f after it": ("up", "x", "--set", "novalue", "-f", "json"),
    "an unknown lab": ("down", "nobody-has-this-name", "-f", "json"),
    "an unknown topology": ("plan", "nobody-has-this-name", "-f", "json"),
}


@root
@pytest.mark.parametrize("words", WRONG_CALLS.values(), ids=WRONG_CALLS.keys())
def test_an_error_in_json_is_one_envelope_and_is_told_in_words_too(words: tuple[str, ...]) -> None:
    said = lab(*words)
    (problem,) = said.json("error")
    assert said.status == 2
    assert problem["message"].splitlines()[0] in said.stderr


def test_problems_of_a_file_in_json_have_file_line_and_column(topology: Write) -> None:
    file = topology(WRONG)
    first, second = lab("validate", file, "-f", "json").json("error")
    assert first == {
        "message": "unknown key 'knid'",
        "hint": "did you mean 'kind'?",
        "place": {"file": str(file), "line": 2, "column": 13, "rendered": None},
    }
    assert (second["place"]["line"], second["place"]["column"]) == (3, 25)


@pytest.mark.parametrize("words", [("schema",), ("plan", "rp-filter"), ("-f", "json", "plan", "rp-filter"), ("scenarios",)])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...]) -> None:
    """As `| head` does, here before the first line."""
    with started(*words) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(SECONDS) == 0


# -- up and down


@root
def test_a_lab_comes_up_is_listed_inspected_and_goes_without_a_trace(topology: Write, name: str) -> None:
    before, file = look(), topology(PAIR)
    said = well("up", file)
    assert said.stdout.startswith(f"lab {name} is up: 2 nodes in ")
    assert f"`lab shell {name} a`" in said.stderr
    (listed,) = [each for each in well("ls", "-f", "json").json("labs") if each["name"] == name]
    assert (listed["status"], listed["nodes"], listed["source"]) == ("up", 2, str(file))
    line = next(line for line in well("ls").stdout.splitlines() if line.startswith(name))
    assert line.split()[1:3] == ["up", "2"]
    assert well("down", name).stdout == f"lab {name} is gone\n"
    assert look() == before


@root
def test_up_and_down_in_json_print_one_envelope_each(topology: Write, name: str) -> None:
    made = well("up", topology(PAIR), "-f", "json").json("lab")
    assert (made["name"], made["nodes"]) == (name, {"a": "host", "b": "host"})
    assert (run_directory() / made["uuid"]).is_mount()
    assert 0 < made["seconds"] < SECONDS
    assert well("down", name, "-f", "json").json("down") == {"name": name}


@root
def test_deploy_and_destroy_are_other_names_of_up_and_down(topology: Write, name: str) -> None:
    assert well("deploy", topology(ALONE)).stdout.startswith(f"lab {name} is up: 1 node in ")
    assert well("destroy", name).stdout == f"lab {name} is gone\n"


@root
def test_inspect_shows_what_the_kernel_has_now(pair: str) -> None:
    lab("exec", pair, "a", "ip", "link", "set", "eth0", "mtu", "1400")
    rows = [line.split() for line in well("inspect", pair).stdout.splitlines()]
    eth0 = next(row for row in rows if row[:2] == ["a", "eth0"])
    assert eth0[2:5] == ["veth", "up", "1400"]
    assert {"10.0.0.1/24", "2001:db8::1/64"} <= set(eth0)
    data = well("inspect", pair, "-f", "json").json("lab")
    assert data["record"]["name"] == pair
    assert [link["name"] for link in data["nodes"]["b"]["state"]["links"]] == ["lo", "eth0"]


@root
def test_up_with_v_says_the_very_words_of_plan_in_order(topology: Write, name: str) -> None:
    file = topology(EVERY_STEP)
    planned = [step["step"] for step in well("plan", file, "-f", "json").json("plan")]
    said = well("up", file, "-v")
    well("down", name)
    assert said.stderr.splitlines()[: len(planned)] == planned
    assert "look around" in said.stderr.splitlines()[len(planned)]


@root
def test_verbosity_can_come_from_the_environment(topology: Write, name: str) -> None:
    said = lab("up", topology(ALONE), env={"LAB_VERBOSE": "1"})
    well("down", name)
    assert said.stderr.startswith("make the network namespace of a")


@root
def test_quiet_commands_say_nothing_where_all_is_well(topology: Write, name: str) -> None:
    file = topology(ALONE)
    for words in (("validate", file), ("up", file), ("down", name), ("prune",)):
        assert well("-q", *words) == Said(0, "", ""), words


@root
def test_quiet_commands_still_say_what_went_wrong() -> None:
    said = lab("-q", "down", "nobody-has-this-name")
    assert (said.status, said.stdout) == (2, "")
    assert "there is no lab named 'nobody-has-this-name'" in said.stderr


@root
def test_a_name_in_use_is_refused_and_the_lab_that_has_it_stays(pair: str) -> None:
    before = look()
    said = lab("up", "two-hosts", "--name", pair)
    assert (said.status, said.stdout) == (2, "")
    assert f"a lab named '{pair}' exists already\n    end it with `lab down {pair}`, or choose another" in said.stderr
    assert look() == before
    assert lab("exec", pair, "a", "true").status == 0


@root
def test_two_labs_from_one_file_run_side_by_side(topology: Write, name: str) -> None:
    file = topology(PAIR)
    first, second = f"{name}-1", f"{name}-2"
    for each in (first, second):
        well("up", file, "--name", each)
    well("exec", first, "a", "--", "ip", "link", "set", "eth0", "down")
    assert lab("exec", first, "b", "--", "ping", "-c1", "-W1", "10.0.0.1").status == 1
    well("exec", second, "b", "--", "ping", "-c1", "-W5", "10.0.0.1")
    well("down", first)
    well("exec", second, "b", "--", "ping", "-c1", "-W5", "10.0.0.1")
    well("down", second)


@root
@pytest.mark.parametrize("fate", ["changed", "broken", "gone"])
def test_down_goes_by_the_record_whatever_became_of_the_file(topology: Write, name: str, fate: str) -> None:
    before, file = look(), topology(PAIR)
    well("up", file)
    if fate == "gone":
        file.unlink()
    else:
        file.write_text("name: other\nnodes: {z: {}}\n" if fate == "changed" else "{{{")
    well("down", name)
    assert look() == before


@root
def test_no_labs_and_nothing_to_prune_are_an_empty_table_and_valid_json(tmp_path: Path) -> None:
    nowhere = {"LAB_RUN_DIR": str(tmp_path / "nowhere")}
    assert lab("ls", env=nowhere).stdout.split() == ["LAB", "STATUS", "NODES", "AGE", "FILE"]
    assert lab("ls", "-f", "json", env=nowhere).json("labs") == []
    assert lab("prune", env=nowhere) == Said(0, "", "")
    assert lab("prune", "-f", "json", env=nowhere).json("pruned") == []


@root
def test_a_missing_kernel_feature_is_3_at_the_place_that_asks_for_it(topology: Write) -> None:
    devices = {"vlan": "{{kind: vlan, parent: lo, id: 7}}", "vrf": "{{kind: vrf, table: 7}}", "dummy": "{{kind: dummy}}"}
    lacking = features.missing(devices)
    asked = next((kind for kind in devices if kind in lacking), "vlan")
    file = topology(f"name: {{name}}\nnodes:\n  a: {{{{interfaces: {{{{x: {devices[asked]}}}}}}}}}\n")
    if not lacking:
        well("validate", file)
        return
    for command in ("up", "validate"):
        said = lab(command, file)
        assert said.status == 3
        assert said.stderr.startswith(f"lab: {file}:3:")
        assert f"this kernel has no {asked}\n" in said.stderr


# -- exec and shell

ODD = [
    "$(touch x)",
    "`id`",
    "a;b",
    "a|b",
    "a&&b",
    ">x",
    "*",
    "~",
    "$HOME",
    "'",
    '"',
    "a b",
    "",
    "\\",
    "a\nb",
    "{{ 7 }}",
    "-f",
    "json",
    "-q",
    "--",
    "--help",
]


@root
def test_exec_passes_its_arguments_as_they_are(pair: str) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert json.loads(well("exec", pair, "a", "--", sys.executable, "-c", code, *ODD).stdout) == ODD
    assert json.loads(well("exec", pair, "a", sys.executable, "-c", code, *ODD).stdout) == ODD


@root
def test_exec_has_the_callers_streams(pair: str) -> None:
    argv = [*LAB, "exec", pair, "a", "--", "sh", "-c", "cat; echo wrong >&2"]
    sent = bytes(range(256)) * 4096
    done = subprocess.run(argv, input=sent, capture_output=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout == sent, done.stderr) == (0, True, b"wrong\n")


@root
def test_exec_is_on_the_node(pair: str) -> None:
    assert "10.0.0.2/24" in well("exec", pair, "b", "--", "ip", "-4", "-br", "addr").stdout
    assert "10.0.0.2/24" in host("ip", "netns", "exec", f"{pair}.b", "ip", "-4", "-br", "addr")


@root
@pytest.mark.parametrize("status", [0, 1, 2, 70, 125, 255])
def test_exec_ends_with_the_status_of_the_command(pair: str, status: int) -> None:
    assert lab("exec", pair, "a", "--", "sh", "-c", f"exit {status}") == Said(status, "", "")


@root
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_exec_of_a_command_that_a_signal_ended_is_128_and_its_number(pair: str, number: signal.Signals) -> None:
    assert lab("exec", pair, "a", "--", "sh", "-c", f"kill -{number} $$").status == 128 + number


@root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_exec_reaches_the_command(pair: str, number: signal.Signals) -> None:
    with started("exec", pair, "a", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(SECONDS) == 128 + number


@root
def test_exec_is_125_where_lab_could_not_run_the_command(pair: str) -> None:
    for words, said in (
        (("nobody-has-this-name", "a", "true"), "there is no lab named 'nobody-has-this-name'"),
        ((pair, "c", "true"), f"lab {pair} has no node 'c'\n    its nodes are a, b"),
        ((pair, "a", "no-such-command"), "no-such-command: "),
        ((pair, "a", "/etc/passwd"), "Permission denied"),
    ):
        done = lab("exec", *words)
        assert (done.status, done.stdout) == (125, ""), words
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def read(master: int) -> bytes | None:
    """What the other end of a terminal wrote; nothing where nobody has it open any more (EIO), None in SECONDS of silence."""
    if not select.select([master], [], [], SECONDS)[0]:
        return None
    try:
        return os.read(master, 4096)
    except OSError:
        return b""


def on_a_terminal(*words: str, typed: bytes = b"", prompt: bytes = b"") -> tuple[int, str]:
    """`lab …` with a terminal of 33 lines and 99 columns; its status and what it showed."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 99))
    with subprocess.Popen(
        [*LAB, *words], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "SHELL": "/bin/sh"}
    ) as process:
        os.close(slave)
        shown, waiting = b"", bool(typed)
        while data := read(master):
            shown += data
            if waiting and prompt in shown:
                os.write(master, typed)
                waiting = False
        if data is None:
            process.kill()
    assert data is not None, f"it goes on, after {shown!r}"
    os.close(master)
    return process.returncode, shown.decode().replace("\r\n", "\n")


@root
def test_exec_on_a_terminal_gives_the_command_one_of_the_same_size(pair: str) -> None:
    status, shown = on_a_terminal("exec", pair, "a", "--", "sh", "-c", "tty; stty size; exit 7")
    tty, size = shown.splitlines()
    assert (status, size) == (7, "33 99")
    assert tty.startswith("/dev/pts/")


@root
def test_a_shell_is_on_the_node_and_ends_with_its_own_status(pair: str) -> None:
    status, shown = on_a_terminal("shell", pair, "b", typed=b"ip -4 -br addr; exit 5\n", prompt=b"# ")
    assert status == 5
    assert "10.0.0.2/24" in shown


@root
def test_a_shell_reads_commands_from_a_pipe(pair: str) -> None:
    done = subprocess.run(
        [*LAB, "shell", pair, "b"],
        input="ip -4 -br addr\nexit 3\n",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 3
    assert "10.0.0.2/24" in done.stdout


# -- interrupted


def homes() -> set[Path]:
    return set(run_directory().iterdir()) if run_directory().exists() else set()


def begins_to_build(process: subprocess.Popen[str], others: set[Path]) -> bool:
    """Waits for the first record in the journal of a home that is none of the `others`. False where none comes."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for home in homes() - others:
            with contextlib.suppress(FileNotFoundError):
                if (home / "journal").read_text():
                    return True
        time.sleep(0.001)
    return False


@root
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", ["table", "json"])
def test_up_that_is_interrupted_undoes_everything(
    topology: Write, name: str, number: signal.Signals, status: int, how: str
) -> None:
    before, others, file = look(), homes(), topology(STAR)
    with started("up", file, "-f", how) as process:
        assert begins_to_build(process, others)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stdout) == (status, "")
    assert "Traceback" not in stderr
    assert look() == before
    assert not list(NETNS.glob(f"{name}.*"))
    assert name not in [each["name"] for each in well("ls", "-f", "json").json("labs")]
