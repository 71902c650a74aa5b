"""`lab --kernel X --untrusted`: a stranger's work sees nothing of the host's but what it needs, and gets nowhere from there.

The stranger's scenario is stranger.py. It runs once with the option, and once without: then what must not be seen is.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.commands import LAB, Said, lab
from support.guests import descendants, on

from lab.guest import share

pytestmark = pytest.mark.root

SCENARIO = Path(__file__).with_name("stranger.py")
TOPOLOGY = """
name: bug
nodes: {a: {}, b: {}}
links:
  - endpoints: ["a:eth0", "b:eth0"]
    addresses: {a: ["10.0.0.1/24"], b: ["10.0.0.2/24"]}
"""
NOBODY = 65534
TRIAL = share.SHARE + share.TRIAL
SECONDS = 400.0  # for the whole of a run on a busy host
# What a guest of the user's own sees; the others hold there, too: nothing is ever written.
SEEN_OTHERWISE = {"test_secrets", "test_neighbours", "test_everything", "test_environment", "test_hostfs"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How `lab run` ended, with each check by its name, and what was seen meanwhile of the process of the guest."""

    said: Said
    checks: dict[str, dict[str, Any]]
    status: dict[str, str] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)

    @property
    def failed(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["outcome"] != "held"}


@dataclass(frozen=True, slots=True)
class Bug:
    """A stranger's report in a folder of the user's, who has secrets."""

    folder: Path
    token: str
    secrets: list[Path]

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def scenario(self, top: str) -> Path:
        """`top` is where secrets are looked for."""
        places = {
            "token": [self.token],
            "secrets": list(map(str, self.secrets)),
            "neighbours": [str(self.folder / name) for name in ("own.txt", "other.yaml", "own")],
            "tops": [top],
            "report": [str(self.report)],
        }
        path = self.folder / "bug.py"
        path.write_text(SCENARIO.read_text().replace("[str]] = {}", f"[str]] = {places!r}", 1))
        return path

    def listed(self) -> set[str]:
        """All that lies where the stranger would write."""
        folders = [self.folder, *(path.parent for path in self.secrets)]
        return {str(path) for folder in folders for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def bug(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bug]:
    name, token = f"lab-test-{secrets.token_hex(4)}", secrets.token_hex(16)
    homes = [Path("/root", f".{name}"), Path("/home", name)]
    folder = tmp_path_factory.mktemp("bug")
    found = Bug(folder, token, [home / "secret" for home in homes])
    try:
        for path in found.secrets:
            path.parent.mkdir(parents=True)
            path.write_text(token)
        for name in ("own.txt", "other.yaml"):
            (folder / name).write_text(token)
        (folder / "own").mkdir()
        (folder / "bug.yaml").write_text(TOPOLOGY)
        yield found
    finally:
        for home in homes:
            shutil.rmtree(home)


@pytest.fixture(scope="module")
def stranger(bug: Bug, uml: str, stock: str) -> Ran:
    """With the option, on a kernel that is not for it."""
    words = ["--kernel", uml, "--untrusted", "run", str(bug.scenario("/")), "--report", str(bug.report), "-f", "json"]
    env = {**os.environ, "LAB_TEST_SECRET": bug.token}
    with subprocess.Popen([*LAB, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            pid = machine_of(process)
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            stdout, stderr = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    said = Said(process.returncode, stdout, stderr)
    return Ran(
        said, checks_of(said), {name: value.strip() for name, _, value in (line.partition(":") for line in status)}, mounts
    )


@pytest.fixture(scope="module")
def trusted(bug: Bug, uml: str) -> Ran:
    """The same without."""
    scenario = bug.scenario(str(bug.secrets[0].parent))
    said = on(uml, "run", scenario, "-f", "json", env={"LAB_TEST_SECRET": bug.token})
    return Ran(said, checks_of(said))


def checks_of(said: Said) -> dict[str, dict[str, Any]]:
    assert said.stdout, said.stderr
    return {check["name"]: check for check in said.json("run")["checks"]}


def machine_of(process: subprocess.Popen[str]) -> int:
    """QEMU, once it is what it will be."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            found = [pid for pid in descendants(process.pid) if "qemu" in Path(f"/proc/{pid}/exe").readlink().name]
        except OSError:  # one has just ended
            found = []
        if found:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"no QEMU: {process.communicate()}")


def test_nothing_of_the_hosts_is_seen_and_no_way_leads_out(stranger: Ran) -> None:
    assert stranger.said.status == 0, stranger.said.stdout + stranger.said.stderr
    assert (len(stranger.checks), stranger.failed) == (11, set())


def test_without_the_option_it_is_seen(trusted: Ran) -> None:
    assert trusted.said.status == 1
    assert trusted.failed == SEEN_OTHERWISE


def test_nothing_of_the_hosts_was_changed(bug: Bug, stranger: Ran, trusted: Ran) -> None:
    assert {path.read_text() for path in bug.secrets} == {bug.token}
    assert (bug.folder / "own.txt").read_text() == bug.token
    assert not [path for path in bug.listed() if "stranger-was-here" in path]


def test_the_report_comes_out_and_nothing_else(bug: Bug, stranger: Ran) -> None:
    assert {str(path.relative_to(bug.report)) for path in bug.report.rglob("*")} == {"index.html", "run.json", "junit.xml"}
    assert json.loads((bug.report / "run.json").read_text())["data"]["kernel"]["release"].startswith("6.1.")


def test_a_result_is_as_in_a_guest_of_the_users_own(stranger: Ran, trusted: Ran) -> None:
    own, other = ({key: ran.checks["test_lab"][key] for key in ("outcome", "title", "tables")} for ran in (stranger, trusted))
    assert own == other
    assert own["tables"]["nodes"]["rows"] == [["a"], ["b"]]


def test_user_mode_linux_is_not_for_it_and_qemu_is_taken_which_is_told(stranger: Ran) -> None:
    first, second = stranger.said.stderr.splitlines()[:2]
    assert "in QEMU instead of uml-6.1" in first
    assert second.endswith(", untrusted")


def test_qemu_runs_as_nobody_without_a_capability_where_all_is_read_only(stranger: Ran) -> None:
    assert stranger.status["Uid"].split() == [str(NOBODY)] * 4
    assert stranger.status["Groups"] == ""
    assert {int(stranger.status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert stranger.status["NoNewPrivs"] == "1"
    places = {line.split()[4]: line.split()[5].split(",") for line in stranger.mounts}
    assert {"/", "/share/usr", TRIAL} <= set(places)
    assert [place for place, options in places.items() if "ro" not in options] == []
    assert [place for place, options in places.items() if not {"nodev", "nosuid"} <= {*options}] == ["/dev/null"]


def test_the_folder_of_the_trial_is_gone(stranger: Ran) -> None:
    (trial,) = (line.split()[3] for line in stranger.mounts if line.split()[4] == TRIAL)
    name = Path(trial).parent.name
    assert name.startswith("lab-")
    assert not Path(tempfile.gettempdir(), name).exists()


@pytest.mark.parametrize("words", [("run", "rp-filter"), ("up", "two-hosts"), ("--kernel", "host", "validate", "two-hosts")])
def test_without_a_kernel_it_is_a_wrong_call(words: tuple[str, ...]) -> None:
    said = lab("--untrusted", *words)
    assert said.status == 2
    assert "--untrusted is about a guest, and no kernel is named\n    name one: --kernel 6.1" in said.stderr


@pytest.mark.parametrize(
    "words",
    [("render", "x.yaml"), ("plan", "x.yaml"), ("graph", "x.yaml"), ("matrix", "x", "--kernels", "6.1"), ("debug", "x")],
)
def test_what_works_on_this_host_is_refused(words: tuple[str, ...]) -> None:
    said = lab("--untrusted", *words)
    assert said.status == 2
    assert f"lab {words[0]} works on this host" in said.stderr


def test_a_link_of_the_strangers_is_not_followed(stock: str, tmp_path: Path) -> None:
    (tmp_path / "bug.py").symlink_to("/etc/passwd")
    said = on(stock, "run", tmp_path / "bug.py", "--untrusted")
    assert said.status == 2
    assert "is a symbolic link, which --untrusted does not follow" in said.stderr


def test_what_only_its_owner_reads_is_told(stock: str, tmp_path: Path) -> None:
    file = tmp_path / "bug.yaml"
    file.write_text(TOPOLOGY)
    file.chmod(0o600)
    said = on(stock, "--untrusted", "validate", file)
    assert said.status == 3
    assert f"not everybody may read {file}" in said.stderr
    assert f"chmod -R o+rX {file}" in said.stderr
