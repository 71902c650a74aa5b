"""A GitHub runner, as far as a composite action needs one: inputs with their defaults, steps by bash, files that it reads; of
expressions those that action.yml has: `inputs.x`, `steps.x.outputs.y`, `always()`, `!= ''` and `&&`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.commands import REPOSITORY

ACTION = REPOSITORY / "action.yml"
SECONDS = 300.0
_EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")
_STOPS = re.compile(r"^::stop-commands::(\w+)$")
_COMMAND = re.compile(r"^::(\w[\w-]*)(?: (.*?))?::(.*)$")
Execute = Callable[[Sequence[str], Path, Mapping[str, str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Command:
    """A workflow command that a step printed: `::error file=a.py,line=3::it is wrong`."""

    kind: str
    text: str
    properties: dict[str, str]


@dataclass
class Ran:
    """What the job came to: `status` of the first step that failed, what was printed, told and handed out; `uploaded` is what
    the step with actions/upload-artifact was given."""

    status: int = 0
    log: str = ""
    commands: list[Command] = field(default_factory=list)
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    uploaded: dict[str, str] = field(default_factory=dict)

    def told(self, kind: str) -> list[Command]:
        return [each for each in self.commands if each.kind == kind]


def action() -> dict[str, Any]:
    loaded = yaml.safe_load(ACTION.read_text())
    assert isinstance(loaded, dict)
    return loaded


def here(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, env=dict(env), capture_output=True, text=True, timeout=SECONDS, check=False)


def run(
    workspace: Path, temporary: Path, given: Mapping[str, str], execute: Execute = here, action_path: Path = REPOSITORY
) -> Ran:
    """The action's steps in a workspace; `given` are inputs, where _ may stand for -, and variables in capitals."""
    described, ran, steps = action(), Ran(), dict[str, dict[str, str]]()
    inputs = {name: str(each.get("default", "")) for name, each in described["inputs"].items()}
    for name, text in given.items():
        if not name.isupper():
            assert name.replace("_", "-") in inputs
            inputs[name.replace("_", "-")] = text
    variables = {name: text for name, text in given.items() if name.isupper()}
    for step in described["runs"]["steps"]:
        if not _wanted(step.get("if", "success()"), ran, inputs, steps):
            continue
        if "uses" in step:
            ran.uploaded = {name: _expanded(str(text), inputs, steps) for name, text in step["with"].items()}
            continue
        env = {name: _expanded(str(text), inputs, steps) for name, text in step.get("env", {}).items()}
        script = _expanded(step["run"], inputs, steps)
        _step(ran, script, execute, workspace, temporary, {**_environment(workspace, action_path), **env, **variables})
        steps[step.get("id", "")] = ran.outputs
    shown = {name: _expanded(each["value"], inputs, steps) for name, each in described["outputs"].items()}
    assert shown == {name: ran.outputs.get(name, "") for name in shown}
    return ran


def _environment(workspace: Path, action_path: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "INPUT_", "GITHUB_"))}
    return {**kept, "CI": "true", "GITHUB_ACTION_PATH": str(action_path), "GITHUB_WORKSPACE": str(workspace)}


def _step(ran: Ran, script: str, execute: Execute, workspace: Path, temporary: Path, env: dict[str, str]) -> None:
    files = {name: temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.write_text("")
        path.chmod(0o666)
    (temporary / "step.sh").write_text(script)
    argv = ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", str(temporary / "step.sh")]
    env = {**env, "RUNNER_TEMP": str(temporary), **{name: str(path) for name, path in files.items()}}
    done = execute(argv, workspace, env)
    ran.status = ran.status or done.returncode
    ran.log += done.stdout + done.stderr
    ran.commands += _commands(done.stdout)
    ran.summary += files["GITHUB_STEP_SUMMARY"].read_text()
    ran.outputs |= _outputs(files["GITHUB_OUTPUT"].read_text())


def _wanted(condition: str, ran: Ran, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> bool:
    inner = _EXPRESSION.fullmatch(condition)
    return all(_true(term.strip(), ran, inputs, steps) for term in (inner[1] if inner else condition).split("&&"))


def _true(term: str, ran: Ran, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> bool:
    if term in ("always()", "success()"):
        return term == "always()" or ran.status == 0
    left, unequal, right = term.partition(" != ")
    assert (unequal, right) == (" != ", "''"), term
    return _value(left, inputs, steps) != ""


def _expanded(text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    return _EXPRESSION.sub(lambda found: _value(found[1], inputs, steps), text)


def _value(name: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    match name.split("."):
        case ["inputs", each]:
            return inputs[each]
        case ["steps", step, "outputs", each]:
            return steps[step].get(each, "")
    raise AssertionError(f"{name}: no runner of these tests knows it")


def _commands(text: str) -> list[Command]:
    """Those that the runner would heed: none between stop-commands and its token."""
    found, stopped = [], ""
    for line in text.splitlines():
        if stopped:
            stopped = "" if line == f"::{stopped}::" else stopped
        elif match := _STOPS.match(line):
            stopped = match[1]
        elif match := _COMMAND.match(line):
            pairs = (pair.partition("=") for pair in (match[2] or "").split(",") if pair)
            found.append(Command(match[1], _unescaped(match[3]), {name: _unescaped(value) for name, _, value in pairs}))
    assert not stopped
    return found


def _unescaped(text: str) -> str:
    for written, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(written, letter)
    return text


def _outputs(text: str) -> dict[str, str]:
    return {name: value for name, _mark, value in re.findall(r"^(\w+)<<(\w+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)}
