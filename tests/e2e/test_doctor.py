"""`lab doctor` as a user calls it: as root, as an ordinary user, in containers' conditions, and what scripts read of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.commands import LAB, SECONDS, Said
from support.privilege import without_privilege
from support.world import look, until_as

from lab.doctor import kernel
from lab.topology.shipped import shipped_topologies

root = pytest.mark.root

SHAPE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["runs", "seconds", "findings", "features"],
    "properties": {
        "runs": {"type": "boolean"},
        "seconds": {"type": "number"},
        "findings": {
            "type": "array",
            "minItems": 10,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["section", "name", "key", "verdict", "found", "follows", "remedy", "blocks"],
                "properties": {
                    "section": {"enum": ["privileges", "kernel", "programs", "scenarios", "settings"]},
                    "verdict": {"enum": ["ok", "note", "lacking"]},
                    "blocks": {"type": "boolean"},
                    **{name: {"type": "string", "minLength": 1} for name in ("name", "key", "found")},
                    **{name: {"type": "string"} for name in ("follows", "remedy")},
                },
            },
        },
        "features": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["there", "microseconds", "modules", "why"],
                "properties": {
                    "there": {"type": ["boolean", "null"]},
                    "microseconds": {"type": "integer", "minimum": 0},
                    "modules": {"type": "array", "items": {"type": "string"}},
                    "why": {"type": "string"},
                },
            },
        },
    },
}
# An ordinary user who can read this checkout, wherever it lies: privileged for nothing that a lab is made of.
AS_ORDINARY = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
LACKING = """\
import sys, types
module = sys.modules["lab.roles.catalogue"] = types.ModuleType("lab.roles.catalogue")
module.shipped_roles = lambda: {"x": types.SimpleNamespace(program="no-such-program", package="no-such")}
"""


def doctor(*words: str, before: tuple[str, ...] = ()) -> Said:
    argv = [*before, *LAB, "doctor", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def told(*before: str) -> tuple[int, dict[str, Any]]:
    """Exit status and data of the envelope."""
    said = doctor("-f", "json", before=before)
    data = said.json("doctor")
    jsonschema.validate(data, SHAPE)
    assert data["runs"] == (said.status == 0)
    return said.status, data


def keys(data: dict[str, Any]) -> set[str]:
    return {finding["key"] for finding in data["findings"]}


@root
def test_as_root_it_says_of_every_section_what_is_there() -> None:
    said = doctor()
    assert (said.status, said.stderr) == (0, "")
    titles = [line.strip() for line in said.stdout.splitlines() if line.strip().isupper()]
    assert titles == ["PRIVILEGES", "KERNEL", "PROGRAMS", "SCENARIOS", "SETTINGS"]
    for name in shipped_topologies():
        assert f"topology {name}" in said.stdout


@root
def test_quietly_only_what_is_not_in_order_is_shown() -> None:
    lines = doctor("-q").stdout.splitlines()
    assert lines
    assert not [line for line in lines if line.startswith("ok ")]


@root
def test_scripts_read_the_same_as_json_with_how_long_each_feature_took() -> None:
    status, data = told()
    assert status == 0
    assert set(data["features"]) == set(kernel.USES)
    assert {"caller.root", "trial.made"} <= keys(data)


@root
def test_it_is_fast_and_leaves_nothing() -> None:
    """A third of a second where nobody else works; features take milliseconds in all."""
    before = look()
    data = min((told()[1] for _ in range(3)), key=lambda each: each["seconds"])
    until_as(before)
    assert data["seconds"] < 2.0
    assert sum(each["microseconds"] for each in data["features"].values()) < 200_000


@root
def test_an_ordinary_user_may_ask_and_is_told_what_could_not_be_tried(tmp_path: Path) -> None:
    tmp_path.parent.chmod(0o755)
    status, data = told(*AS_ORDINARY)
    found = keys(data)
    assert "caller.ordinary" in found
    if status == 0:
        assert {"trial.made", "userns.works", "topology.root"} <= found
        assert data["features"]["veth"]["there"] is True
        assert data["features"]["nfsd"]["there"] is None
        assert data["features"]["nfsd"]["why"] == "Operation not permitted"
    else:
        assert {key for key in found if key.startswith("userns.")}


def test_where_nothing_can_run_it_is_3_and_says_what_is_to_blame() -> None:
    done = without_privilege(*LAB, "doctor")
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(
        "lab: no lab can run here for this user\n    user namespaces: the caller's id has no counterpart"
    )
    assert "no feature could be tried" in done.stdout
    assert "none of its" in done.stdout


def test_where_nothing_can_run_there_is_one_envelope_all_the_same() -> None:
    done = without_privilege(*LAB, "doctor", "-f", "json")
    data = json.loads(done.stdout)["data"]
    jsonschema.validate(data, SHAPE)
    assert (done.returncode, data["runs"], data["features"]) == (3, False, {})


@root
def test_in_a_network_namespace_it_says_what_does_not_show_there() -> None:
    status, data = told("unshare", "--net")
    assert status == 0
    assert "neighbours.unseen" in keys(data)


@root
def test_the_root_of_a_user_namespace_is_told_so() -> None:
    _, data = told("unshare", "--user", "--map-root-user")
    assert {"caller.root-of-namespace", "log.restricted", "log.closed"} & keys(data)
    assert "caller.root-of-namespace" in keys(data)


@root
@pytest.mark.parametrize("capability", ["sys_admin", "net_admin"])
def test_a_root_without_capabilities_as_in_a_container_is_3(capability: str) -> None:
    status, data = told("setpriv", "--bounding-set", f"-{capability}", "--inh-caps", f"-{capability}")
    assert status == 3
    (guilty,) = [each for each in data["findings"] if each["key"] == "caller.root-lacks"]
    assert guilty["found"] == f"root, but without CAP_{capability.upper()}"


IN_MOUNTS = ("unshare", "--mount", "sh", "-c")


@root
def test_a_proc_sys_that_is_read_only_as_in_a_container_is_3() -> None:
    script = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
    status, data = told(*IN_MOUNTS, script, "sh")
    assert status == 3
    assert "Read-only file system" in next(each["found"] for each in data["findings"] if each["key"] == "trial.sysctl")


@root
def test_a_masked_proc_as_in_a_container_keeps_an_ordinary_user_from_labs() -> None:
    """The kernel lets nobody mount a /proc that shows more than the one that is there (fs/namespace.c, mount_too_revealing)."""
    script = 'mount -t tmpfs none /proc/acpi 2>/dev/null || mount -t tmpfs none /proc/irq; exec "$@"'
    status, data = told(*IN_MOUNTS, script, "sh", *AS_ORDINARY)
    assert (status, "trial.proc" in keys(data)) == (3, True)


@root
def test_install_does_nothing_where_nothing_is_missing() -> None:
    """`make test` has brought everything."""
    before = Path("/var/lib/dpkg/status").stat().st_mtime_ns
    assert "program.lacking" not in keys(told()[1])
    assert doctor("--install").stdout == "nothing is missing: nothing was installed\n"
    assert doctor("--install", "-f", "json").json("installed")["asked"] == []
    assert Path("/var/lib/dpkg/status").stat().st_mtime_ns == before


@pytest.mark.skipif(not shutil.which("apt-get"), reason="there is no apt-get here")
def test_install_without_root_is_3_and_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    done = without_privilege("/usr/bin/env", f"PYTHONPATH={tmp_path}", *LAB, "doctor", "--install")
    assert (done.returncode, done.stdout) == (3, "")
    assert "installing packages needs root\n    sudo lab doctor --install, or: sudo apt-get install no-such" in done.stderr
