"""The user namespace that `lab run` makes for an ordinary user: its ids and mounts, and each refusal, on the real kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.commands import Said
from support.user import User, new_user, until_gone

from lab.substrate import baseline, userns
from lab.substrate.userns import Range

pytestmark = pytest.mark.root

FACTS = """
import json, os, pathlib
from lab.substrate import userns

def read(path):
    return pathlib.Path(path).read_text()

def test_facts():
    facts = {
        "ids": os.getresuid() + os.getresgid(),
        "uid_map": [line.split() for line in read("/proc/self/uid_map").splitlines()],
        "gid_map": [line.split() for line in read("/proc/self/gid_map").splitlines()],
        "setgroups": read("/proc/self/setgroups").strip(),
        "ids_available": userns.ids_available(),
        "initial": userns.is_initial(),
        "cwd": os.getcwd(),
        "here": sorted(os.listdir(".")),
        "run": {path: os.path.islink(f"/run/{path}") or os.path.isdir(f"/run/{path}") for path in sorted(os.listdir("/run"))},
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "mask": [line for line in read("/proc/self/status").splitlines() if line.startswith("SigBlk")],
        "run_dir": os.environ.get("LAB_RUN_DIR"),
    }
    pathlib.Path("facts.json").write_text(json.dumps(facts))
"""
# What a mount namespace of the test's own has instead of this host's /run.
OTHER_RUN = """
done(libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=0755"))
for folder in ("daemon", "netns", "lab", "user", "secret"):
    os.mkdir(f"/run/{{folder}}", 0o700 if folder == "secret" else 0o755)
open("/run/netns/of-the-host", "w").close()
open("/run/lab/of-the-host", "w").close()
open("/run/daemon.pid", "w").write("7")
os.symlink("daemon", "/run/link")
os.mkdir("/run/user/{uid}")
done(libc.mount(b"tmpfs", b"/run/user/{uid}", b"tmpfs", 0, b"mode=0700,uid={uid},gid={gid}"))
import shutil
shutil.copy("{file}", "/run/user/{uid}/test_facts.py")
os.chown("/run/user/{uid}/test_facts.py", {uid}, {gid})
"""
# linux/seccomp.h and linux/filter.h: unshare(2) gives EPERM, every other call is allowed.
SECCOMP = """
import ctypes, os, struct, sys
number = 272 if os.uname().machine == "x86_64" else 97
filter = b"".join(struct.pack("HBBI", *each) for each in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)))
code = ctypes.create_string_buffer(filter)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(code))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def ranged() -> Iterator[User]:
    """A user with subordinate ids."""
    with new_user(subordinate=True) as user:
        yield user
        until_gone(user)


@pytest.fixture(scope="module")
def plain() -> Iterator[User]:
    """A user without."""
    with new_user(subordinate=False) as user:
        yield user
        until_gone(user)


def run(user: User, *before: str | Path, env: dict[str, str] | None = None) -> Said:
    """`lab run` of FACTS, by way of the command `before`."""
    return user.run(*before, *user.lab, "run", user.write("test_facts.py", FACTS), env=env)


def facts(user: User, said: Said) -> Any:
    assert said.status == 0, said.stdout + said.stderr
    return json.loads((user.home / "facts.json").read_text())


def ranges(user: User, path: Path) -> tuple[Range, ...]:
    return userns.subordinate(path.read_text(), user.name, user.uid)


def as_map(first: int, some: tuple[Range, ...]) -> list[list[str]]:
    return [[str(number) for number in line] for line in userns.map_lines(first, some)]


# -- ids


def test_with_subordinate_ids_root_is_the_caller_and_the_ranges_follow(ranged: User) -> None:
    said = run(ranged)
    found = facts(ranged, said)
    users = ranges(ranged, userns.SUBUID)
    assert found["ids"] == [0] * 6
    assert found["uid_map"] == as_map(ranged.uid, users)
    assert found["gid_map"] == as_map(ranged.gid, ranges(ranged, userns.SUBGID))
    assert (found["setgroups"], found["ids_available"], found["initial"]) == ("allow", 1 + users[0].count, False)
    assert said.stderr == ""


def test_without_there_is_one_id_and_it_is_said_what_cannot_work(plain: User) -> None:
    said = run(plain)
    found = facts(plain, said)
    assert (found["uid_map"], found["gid_map"]) == (as_map(plain.uid, ()), as_map(plain.gid, ()))
    assert (found["setgroups"], found["ids_available"], found["initial"]) == ("deny", 1, False)
    assert said.stderr.startswith(
        f"lab: {plain.name} has no subordinate ids in /etc/subuid and /etc/subgid: these labs have one user"
    )
    assert said.stderr.count("lab: ") == 1
    assert (
        f"sudo usermod --add-subuids {userns.first_free(userns.SUBUID.read_text(), userns.SUBGID.read_text())}-" in said.stderr
    )


def test_where_newuidmap_is_missing_there_is_one_id_and_it_is_said(ranged: User) -> None:
    said = run(ranged, env={"PATH": "/nowhere"})
    assert facts(ranged, said)["ids_available"] == 1
    assert said.stderr.startswith("lab: newuidmap is not installed: these labs have one user")
    assert "apt install uidmap" in said.stderr


def test_where_newuidmap_may_not_map_there_is_one_id_and_it_is_said(ranged: User) -> None:
    said = run(ranged, "/usr/bin/setpriv", "--no-new-privs")
    assert facts(ranged, said)["ids_available"] == 1
    assert said.stderr.startswith("lab: newuidmap failed: ")


def test_where_only_the_groups_cannot_be_mapped_the_users_are(ranged: User) -> None:
    (ranged.home / "bin").mkdir(mode=0o755)
    (ranged.home / "bin" / "newuidmap").symlink_to("/usr/bin/newuidmap")
    said = run(ranged, env={"PATH": str(ranged.home / "bin")})
    found = facts(ranged, said)
    assert found["uid_map"] == as_map(ranged.uid, ranges(ranged, userns.SUBUID))
    assert found["gid_map"] == as_map(ranged.gid, ())
    assert said.stderr.startswith("lab: newgidmap is not installed")


def test_who_is_already_root_in_a_user_namespace_needs_no_other_one(plain: User) -> None:
    found = facts(plain, run(plain, "/usr/bin/unshare", "--user", "--map-root-user", "--mount"))
    assert len(found["pids"]) > 3


# -- what is seen


def test_the_processes_of_a_run_see_themselves_alone_and_the_hosts_network(plain: User) -> None:
    found = facts(plain, run(plain))
    assert found["pids"] == [1, 2]
    own = {name: str(Path("/proc/self/ns", name).readlink()) for name in found["namespaces"]}
    apart = {name for name, link in found["namespaces"].items() if link != own[name]}
    assert apart == {"user", "mnt", "pid", "pid_for_children"}
    assert found["mask"] == ["SigBlk:\t" + "0" * 16]


def test_what_runs_use_of_run_is_new_and_the_rest_is_in_its_place(plain: User) -> None:
    file = plain.write("test_facts.py", FACTS)
    other = replace(plain, before=OTHER_RUN.format(uid=plain.uid, gid=plain.gid, file=file))
    folder = f"/run/user/{plain.uid}"
    script = 'cd "$1"; shift; "$@" && cp facts.json "$HOME"'
    said = other.run("/bin/sh", "-c", script, "sh", folder, *other.lab, "run", "test_facts.py", env={"LAB_RUN_DIR": "/nowhere"})
    found = facts(plain, said)
    assert found["run"] == {"daemon": True, "daemon.pid": False, "link": True, "secret": True, "user": True}
    assert (found["cwd"], found["here"]) == (folder, ["test_facts.py"])
    assert found["run_dir"] is None


# -- refusals


def refused(said: Said) -> str:
    assert (said.status, said.stdout) == (3, ""), said.stdout + said.stderr
    return said.stderr


@pytest.mark.parametrize("limit", ["max_user_namespaces", "max_pid_namespaces", "max_mnt_namespaces"])
def test_a_limit_of_none_is_named_with_the_command_that_raises_it(plain: User, limit: str) -> None:
    """The limits belong to a user namespace: this one is the test's own."""
    nested = ("/usr/bin/unshare", "--user", "--map-current-user", "--keep-caps", "/bin/sh", "-c")
    said = run(plain, *nested, f'echo 0 > /proc/sys/user/{limit}; exec "$@"', "sh")
    assert f"user.{limit} is 0\n    sudo sysctl user.{limit}=10000, or run it as root" in refused(said)


def test_a_limit_that_is_reached_is_named(plain: User) -> None:
    nested = ("/usr/bin/unshare", "--user", "--map-current-user", "--keep-caps", "/bin/sh", "-c")
    script = 'echo 1 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-current-user "$@"'
    assert "a limit of namespaces is reached (user.max_user_namespaces " in refused(run(plain, *nested, script, "sh"))


def test_a_seccomp_filter_is_named(plain: User) -> None:
    said = run(plain, *plain.python, "-c", SECCOMP)
    assert "a seccomp filter, of a container or a sandbox, refuses it\n    start the container with" in refused(said)


def test_a_hidden_part_of_proc_is_named(plain: User) -> None:
    masked = replace(plain, before='done(libc.mount(b"tmpfs", b"/proc/fs", b"tmpfs", 0, None))')
    assert "parts of /proc are hidden by mounts, as containers do it" in refused(run(masked))


def test_a_chroot_is_named_among_what_may_forbid_it(plain: User) -> None:
    place = f"{plain.home}/root"
    bound = f'done(libc.mount(b"/", b"{place}", None, ctypes.c_ulong(0x5000), None))'
    chrooted = replace(plain, before=f'os.makedirs("{place}", exist_ok=True)\n{bound}\nos.chroot("{place}")')
    said = refused(run(chrooted))
    assert "it was not possible to make a user namespace: Operation not permitted\n    a container, a chroot or" in said


def test_a_refusal_is_one_envelope_where_json_is_asked_for(plain: User) -> None:
    said = plain.run(*plain.python, "-c", SECCOMP, *plain.lab, "run", "rp-filter", "-f", "json")
    (problem,) = said.json("error")
    assert said.status == 3
    assert "a seccomp filter" in problem["message"]


# -- the host's settings


def test_a_neighbour_setting_that_no_lab_can_have_otherwise_is_listed() -> None:
    path = Path("/proc/sys/net/ipv4/neigh/default/gc_stale_time")
    before = path.read_text()
    path.write_text("77")
    try:
        assert baseline.left_as_on_host(shown=lambda: False) == ["net.ipv4.neigh.default.gc_stale_time = 77"]
        assert baseline.left_as_on_host() == []
    finally:
        path.write_text(before)
