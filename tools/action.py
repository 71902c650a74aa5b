"""What action.yml runs on a GitHub runner: installs lab, runs scenarios, and tells the runner what they came to.

The inputs come as INPUT_… variables and never as text of a command; what the runner reads (annotations, summary, outputs) is
written as its documentation has it (docs.github.com, "Workflow commands for GitHub Actions"). The standard library alone: when
this begins nothing is installed. Root's work is done by sudo where this is not root; without sudo `lab run` makes its labs in a
user namespace.

Ends as `lab run` does: 0, or 1, 2, 3, 4, 70, 130.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

LACKS = "lab-lacks"
"""As in lab.pytest_plugin: the property of a check that was skipped for want of a kernel feature, as `lab run` names it."""
WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD, SKIPPED = 2, 3, 1, 4
ENDED = (130, 143)
BY_RANK = (*ENDED, 70, WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD)
_OF_PYTEST = {1: DOES_NOT_HOLD, 2: 130, 3: 70, 4: WRONG_CALL, 5: WRONG_CALL}
"""pytest.ExitCode -> the exit status of `lab run`."""
_WORDS = {"held": "held", "failure": "did not hold", "error": "could not be made", "skipped": "skipped"}
_PLACE = re.compile(r"^(\S.*?\.py):(\d+): ", re.MULTILINE)
_MOST_ROWS, _MOST_LETTERS = 50, 300
_OLDEST = (3, 11)


class InputError(Exception):
    """An input is wrong, or this runner cannot; in words for the user."""


# -- inputs


@dataclass(frozen=True)
class Inputs:
    """Those of action.yml. `scenarios` are for `lab run`, `pytest` are words for pytest; one of them has some."""

    scenarios: tuple[str, ...]
    pytest: tuple[str, ...]
    jobs: int
    slow: bool
    kernels: tuple[str, ...]
    allow_skips: bool
    install: bool
    packages: tuple[str, ...]
    report: Path
    folder: Path
    python: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Inputs:
        texts = {name.removeprefix("INPUT_"): text.strip() for name, text in environment.items() if name.startswith("INPUT_")}
        scenarios, pytest = _words(texts, "SCENARIOS"), _words(texts, "PYTEST")
        if bool(scenarios) == bool(pytest):
            raise InputError("give either scenarios, for lab run, or pytest, for scenarios of your own within your own tests")
        folder = Path(texts.get("WORKING_DIRECTORY") or ".").absolute()
        if not folder.is_dir():
            raise InputError(f"working-directory: {folder} is no folder; was the repository checked out (actions/checkout)?")
        jobs = texts.get("JOBS") or "1"
        if not (jobs.isascii() and jobs.isdigit() and int(jobs)):
            raise InputError(f"jobs is {jobs!r}: write how many scenarios run side by side, such as 2")
        return cls(
            scenarios=scenarios,
            pytest=pytest,
            jobs=int(jobs),
            slow=_flag(texts, "SLOW"),
            kernels=tuple(name for name in _words(texts, "KERNELS") if name != "none"),
            allow_skips=_flag(texts, "ALLOW_SKIPS"),
            install=_flag(texts, "INSTALL"),
            packages=_words(texts, "PACKAGES"),
            report=folder / (texts.get("REPORT") or "lab-report"),
            folder=folder,
            python=_interpreter(texts.get("PYTHON", ""), environment),
        )


def _words(texts: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Parted as a shell parts them, and nothing else that a shell does."""
    try:
        return tuple(shlex.split(texts.get(name, "")))
    except ValueError as error:
        raise InputError(f"{_called(name)}: {error}") from error


def _flag(texts: Mapping[str, str], name: str) -> bool:
    text = texts.get(name) or "false"
    if text not in ("true", "false"):
        raise InputError(f"{_called(name)} is {text!r}: write true or false")
    return text == "true"


def _called(name: str) -> str:
    return name.lower().replace("_", "-")


def _interpreter(named: str, environment: Mapping[str, str]) -> str:
    """That of the user's, found as a shell would, or that of the venv which `prepare` makes."""
    if not named:
        return str(Path(environment.get("RUNNER_TEMP") or "/tmp").absolute() / "lab-venv" / "bin" / "python")
    found = shutil.which(named)
    if not found:
        raise InputError(f"python: there is no program {named}")
    return os.path.abspath(found)  # noqa: PTH100 - not through the link, by which Python finds its venv


# -- what is done


def prepare(inputs: Inputs) -> None:
    """Installs lab, unless an interpreter was named that has it, and the programs of its roles."""
    if os.environ.get("INPUT_PYTHON", "").strip():
        if call([inputs.python, "-c", "import lab.pytest_plugin"], inputs.folder):
            raise InputError(f"python: {inputs.python} has no lab; install netns-lab there, or leave the input out")
    else:
        _make_venv(inputs)
    if inputs.install and (prefix := as_root()) is not None:
        with_group("lab doctor --install", [*prefix, inputs.python, "-m", "lab", "doctor", "--install"], inputs.folder)


def _make_venv(inputs: Inputs) -> None:
    if sys.version_info < _OLDEST:
        raise InputError(f"python3 is {sys.version.split()[0]}, and lab needs 3.11 or later: use actions/setup-python before")
    venv, source = str(Path(inputs.python).parent.parent), str(Path(__file__).resolve().parent.parent)
    pip = [inputs.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for argv in (
        [sys.executable, "-m", "venv", venv],
        [*pip, source],
        *([[*pip, *inputs.packages]] if inputs.packages else []),
    ):
        if status := with_group(shlex.join(argv), argv, inputs.folder):
            raise InputError(f"lab cannot be installed: {shlex.join(argv)} ended with status {status}")


def run(inputs: Inputs) -> int:
    """The scenarios, and in a guest those for which this kernel lacks something; the exit status."""
    prefix = as_root()
    if prefix is None and inputs.pytest:
        raise InputError(
            "pytest needs root for labs, and sudo is not here or asks for a password: use scenarios instead, which need no root"
        )
    for stale in (inputs.report / "junit.xml", inputs.report / "guest" / "junit.xml"):
        stale.unlink(missing_ok=True)
    status = call([*(prefix or ()), *_command(inputs)], inputs.folder)
    statuses = [_OF_PYTEST.get(status, 70) if status and inputs.pytest else status]
    file = inputs.report / "junit.xml"
    lacking = [check for case in cases(file) if (check := lacks(case))]
    if lacking and inputs.kernels and statuses[0] not in ENDED:
        statuses += _in_a_guest(inputs, list(prefix or ()), file, lacking)
    _give_back(inputs, prefix)
    return tell(inputs, statuses, list(cases(file)))


def _command(inputs: Inputs) -> list[str]:
    if inputs.pytest:
        own = ["-p", "no:cacheprovider", f"--junitxml={inputs.report / 'junit.xml'}"]
        return [inputs.python, "-B", "-m", "pytest", *own, *inputs.pytest]
    return _lab_run(inputs, inputs.report, inputs.scenarios)


def _lab_run(inputs: Inputs, report: Path, scenarios: Sequence[str]) -> list[str]:
    kernel = () if inputs.kernels else ("--kernel", "host")
    words = ["run", "--report", str(report), "--jobs", str(inputs.jobs), *(("--slow",) if inputs.slow else ())]
    return [inputs.python, "-B", "-m", "lab", *kernel, *words, "--", *scenarios]


def _in_a_guest(inputs: Inputs, prefix: list[str], file: Path, lacking: list[str]) -> list[int]:
    """Fetches the kernels only now that something lacks; the status, none where no kernel came: what was skipped stays so."""
    argv = [*prefix, inputs.python, "-m", "lab", "kernels", "fetch", *inputs.kernels]
    if status := with_group(shlex.join(argv[len(prefix) :]), argv, inputs.folder):
        command("warning", f"no kernel for a guest could be fetched (status {status}): what this kernel lacks is skipped")
        return []
    there = inputs.report / "guest"
    status = call([*prefix, *_lab_run(inputs, there, lacking)], inputs.folder)
    _give_back(inputs, prefix)
    if (there / "junit.xml").exists():
        merge(file, there / "junit.xml")
    return [status]


def _give_back(inputs: Inputs, prefix: Sequence[str] | None) -> None:
    """What root wrote becomes the runner's, which uploads it, and clears its workspace."""
    if prefix and inputs.report.exists():
        call([*prefix, "chown", "-R", f"{os.getuid()}:{os.getgid()}", "--", str(inputs.report)], inputs.folder)


def as_root() -> list[str] | None:
    """What stands before a command of root's; None where there is no way. sudo has a PATH and a HOME of its own."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    words = [sudo or "", "--non-interactive"]
    if sudo and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
        return [*words, "--preserve-env", "--set-home", "env", f"PATH={os.environ['PATH']}"]
    return None


def with_group(title: str, argv: Sequence[str], folder: Path) -> int:
    command("group", title)
    status = call(argv, folder)
    command("endgroup")
    return status


def call(argv: Sequence[str], folder: Path) -> int:
    """What it prints is no command to the runner, whatever it looks like. Told to end, it is told, and undoes what it made."""
    token = secrets.token_hex(16)
    command("stop-commands", token)
    try:
        with subprocess.Popen(argv, cwd=folder) as process, handed_on(process):
            return process.wait()
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", flush=True)
        return 127
    finally:
        command(token)


@contextlib.contextmanager
def handed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A runner that cancels sends SIGINT to this process alone, and SIGTERM some seconds later."""

    def hand_on(number: int, _frame: object) -> None:
        with contextlib.suppress(PermissionError):  # it is sudo's
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- results: the JUnit file is what both ways of running write


def cases(file: Path) -> Iterator[Element]:
    if file.exists():
        yield from ElementTree.parse(file).getroot().iter("testcase")


def outcome(case: Element) -> str:
    """held, failure, error or skipped. A failure that was expected is no skip, whatever JUnit calls it."""
    tags = {each.tag for each in case if each.get("type") != "pytest.xfail"}
    return next((word for word in ("error", "failure", "skipped") if word in tags), "held")


def lacks(case: Element) -> str:
    return next((each.get("value", "") for each in case.iter("property") if each.get("name") == LACKS), "")


def merge(file: Path, more: Path) -> None:
    """The checks of `more` in the place of those in `file` that lacked something."""
    tree = ElementTree.parse(file)
    for suite in tree.getroot().iter("testsuite"):
        for case in [each for each in suite.iter("testcase") if lacks(each)]:
            suite.remove(case)
            for counter in ("tests", "skipped"):
                suite.set(counter, str(int(suite.get(counter, "0")) - 1))
    tree.getroot().extend(ElementTree.parse(more).getroot())
    tree.write(file, encoding="utf-8", xml_declaration=True)


def verdict(statuses: Sequence[int], outcomes: Counter[str], allow_skips: bool) -> int:
    """The exit status: the first that applies, as of `lab run`; a skip is one unless allowed, and always where all were."""
    for status in BY_RANK:
        if status in statuses:
            return status
    skipped = outcomes["skipped"]
    if skipped and (not allow_skips or skipped == outcomes.total()):
        return SKIPPED
    return next((status for status in statuses if status not in (0, SKIPPED)), 0)


# -- what the runner is told


def tell(inputs: Inputs, statuses: Sequence[int], found: Sequence[Element]) -> int:
    outcomes = Counter(map(outcome, found))
    status = verdict(statuses, outcomes, inputs.allow_skips)
    said = ", ".join(f"{outcomes[each]} {words}" for each, words in _WORDS.items() if outcomes[each]) or "nothing was checked"
    rows = [case for case in found if outcome(case) != "held"]
    for case in rows:
        _annotate(case, inputs, skips="error" if status == SKIPPED else "notice")
    if status and not rows:
        command("error", f"lab ended with status {status}, and the reason is above", title="lab")
    write_to("GITHUB_STEP_SUMMARY", summary(said, status, rows))
    report = str(inputs.report) if inputs.report.exists() else ""
    junit = str(inputs.report / "junit.xml") if report and (inputs.report / "junit.xml").exists() else ""
    write_to("GITHUB_OUTPUT", "".join(map(output, ("status", "report", "junit"), (str(status), report, junit))))
    return status


def _annotate(case: Element, inputs: Inputs, skips: str) -> None:
    kind = outcome(case)
    level = skips if kind == "skipped" else "error"
    command(level, message(case), title=f"{title(case)}: {_WORDS[kind]}", **place(case, inputs.folder))


def title(case: Element) -> str:
    """What the check says of itself, or its name."""
    said = next((each.get("value", "") for each in case.iter("property") if each.get("name") == "title"), "")
    return said or f"{case.get('classname', '')}::{case.get('name', '')}"


def message(case: Element) -> str:
    found = [each for each in case if each.tag in ("error", "failure", "skipped")]
    return "\n".join(each.get("message") or each.text or "" for each in found)


def place(case: Element, folder: Path) -> dict[str, str]:
    """The last line of the traceback that lies in the repository: its file from there, and the line."""
    text = "\n".join(each.text or "" for each in case)
    root = Path(os.environ.get("GITHUB_WORKSPACE") or folder).absolute()
    for name, line in reversed(_PLACE.findall(text)):
        path = Path(os.path.normpath(folder / name))
        if path.is_relative_to(root) and path.is_file():
            return {"file": str(path.relative_to(root)), "line": line}
    return {}


def command(kind: str, text: str = "", **properties: str) -> None:
    """One line that the runner reads; its own escapes keep it one line."""
    written = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in properties.items())
    print(f"::{kind}{' ' if written else ''}{written}::{_escaped(text)}", flush=True)


def _escaped(text: str, also: str = "") -> str:
    return "".join(f"%{ord(letter):02X}" if letter in f"%\r\n{also}" else letter for letter in text)


def summary(said: str, status: int, rows: Sequence[Element]) -> str:
    """Markdown: a heading, and a table of what did not hold."""
    lines = [f"### {'✅' if status == 0 else '❌'} lab: {said}", ""]
    if rows:
        lines += ["| check | | why |", "| --- | --- | --- |"]
        lines += [f"| {_cell(title(case))} | {_WORDS[outcome(case)]} | {_cell(message(case))} |" for case in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines += ["", f"{len(rows) - _MOST_ROWS} more are in the report."]
    return "\n".join([*lines, "", ""])


def _cell(text: str) -> str:
    short = text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
    for letter, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("\r", ""), ("\n", "<br>")):
        short = short.replace(letter, written)
    return short


def output(name: str, value: str) -> str:
    """With a delimiter that no value can have guessed."""
    mark = secrets.token_hex(16)
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def write_to(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def main() -> int:
    try:
        inputs = Inputs.read(os.environ)
        prepare(inputs)
        return run(inputs)
    except InputError as error:
        command("error", str(error), title="lab")
        return WRONG_CALL


if __name__ == "__main__":
    sys.exit(main())
