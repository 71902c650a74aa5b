"""The life of a node's init: made once, recorded before it serves, ended by proof."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.nodes import (
    REPOSITORY,
    SECONDS,
    Scratch,
    inhabitants,
    living_in,
    pidfd_of,
    soon,
    started,
    until,
    wait_until_alone,
)

from lab.errors import HostError, StepError
from lab.substrate.endings import readable
from lab.substrate.processes import (
    DEVNULL,
    PIPE,
    Init,
    InitRecord,
    Running,
    end,
    end_all,
    end_strays,
    popen,
    run,
)

pytestmark = pytest.mark.root


def test_an_init_is_made_once_and_reached_by_whoever_comes_later(scratch: Scratch) -> None:
    assert Init.attach(scratch.directory("a")) is None
    first = scratch.init("a")
    assert scratch.init("a") == first == Init.attach(scratch.directory("a"))
    assert len(scratch.records) == 1
    assert scratch.records[0] == InitRecord.from_dict(json.loads(json.dumps(scratch.records[0].to_dict())))


def test_many_threads_that_want_one_init_get_the_same(scratch: Scratch) -> None:
    scratch.netns("a")
    threads = [threading.Thread(target=scratch.init) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(scratch.records) == 1


def test_a_killed_init_is_replaced(scratch: Scratch) -> None:
    init = scratch.init("a")
    with popen(init, ["sleep", "1000"]) as process:
        assert end(scratch.records[0], soon())
        assert process.wait(SECONDS) == -signal.SIGKILL
    with pytest.raises(StepError, match="reach the init of node a"):
        run(init, ["true"])
    assert run(scratch.init("a"), ["hostname"]).stdout == "a\n"
    assert len(scratch.records) == 2


def test_a_killed_helper_takes_no_init_along_and_is_replaced(scratch: Scratch) -> None:
    first = scratch.init("a")
    helper = int(Path(f"/proc/{scratch.records[0].pid}/stat").read_text().split()[3])
    assert_killed(helper)
    assert run(first, ["true"]).status == 0
    assert run(scratch.init("b"), ["hostname"]).stdout == "b\n"


def assert_killed(pid: int) -> None:
    with pidfd_of(pid) as pidfd:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert readable(pidfd, soon())


def test_what_is_no_network_namespace_fails_with_the_step_and_the_errno(scratch: Scratch, tmp_path: Path) -> None:
    (scratch.directory("a") / "plain").touch()
    with pytest.raises(StepError, match=r"on node a: start the init .*\n.*EINVAL.*enter the network namespace"):
        scratch.spawner.init(
            "a", scratch.directory("a") / "plain", scratch.lab(), scratch.directory("a"), scratch.records.append, False
        )
    assert scratch.records == []


def test_who_may_not_make_namespaces_is_told_so(scratch: Scratch) -> None:
    scratch.netns("a"), scratch.directory("a")
    argv = [sys.executable, "-c", OWNER, str(scratch.lab()), "a", "ephemeral"]
    unprivileged = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", *argv]
    with started(unprivileged, stderr=PIPE) as process:
        _, stderr = process.communicate(timeout=SECONDS)
    assert "HostError: node a: start the init" in stderr
    assert "run lab as root" in stderr


def test_a_helper_that_cannot_start_is_told_with_its_own_words(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/cat")
    with pytest.raises(HostError, match="invalid option"):
        scratch.init("a")


def test_an_init_whose_record_failed_is_gone_when_the_error_arrives(scratch: Scratch) -> None:
    seen: list[InitRecord] = []

    def refuse(record: InitRecord) -> None:
        seen.append(record)
        raise OSError("the journal is full")

    with pytest.raises(OSError, match="the journal is full"):
        scratch.spawner.init("a", scratch.netns("a"), scratch.lab(), scratch.directory("a"), refuse, True)
    assert Init.attach(scratch.directory("a")) is None
    assert end(seen[0], time.monotonic())


OWNER = """
import json, os, signal, sys
from pathlib import Path
from lab.substrate.processes import Spawner, popen, DEVNULL
lab, node, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def record(made):
    print(json.dumps(made.to_dict()), flush=True)
    if how == "dies-before-recording":
        os.kill(os.getpid(), signal.SIGKILL)
init = Spawner().init(node, lab / "ns" / node, lab, lab / "nodes" / node, record, how == "detached")
process = popen(init, ["sh", "-c", "sleep 1000 & echo; wait"])
process.stdout.readline()
kept = popen(init, ["sleep", "1000"], keep=True)
print("ready", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def owner(scratch: Scratch, how: str) -> Iterator[tuple[subprocess.Popen[str], InitRecord]]:
    """Another process that owns an init, and the record of that."""
    scratch.netns("a"), scratch.directory("a")
    argv = [sys.executable, "-c", OWNER, str(scratch.lab()), "a", how]
    with started(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            record = InitRecord.from_dict(json.loads(process.stdout.readline()))
            scratch.records.append(record)
            yield process, record
        finally:
            process.kill()


def test_an_init_dies_with_its_owner(scratch: Scratch) -> None:
    with owner(scratch, "ephemeral") as (process, record):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert ends(record)
    assert Init.attach(scratch.directory("a")) is None


def test_an_init_whose_owner_dies_before_recording_it_dies_too(scratch: Scratch) -> None:
    with owner(scratch, "dies-before-recording") as (process, record):
        assert process.wait(SECONDS) == -signal.SIGKILL
        assert ends(record)


def ends(record: InitRecord) -> bool:
    """Whether an init comes to its end by itself."""
    try:
        with pidfd_of(record.pid) as pidfd:
            return readable(pidfd, soon())
    except ProcessLookupError:
        return True


def test_a_detached_init_outlives_its_owner_with_what_it_was_to_keep_and_nothing_else(scratch: Scratch) -> None:
    with owner(scratch, "detached") as (process, record):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(inhabitants(record)) == 4
        process.kill()
        process.wait(SECONDS)
        wait_until_alone(record, kept=1)
    init = Init.attach(scratch.directory("a"))
    assert init is not None
    assert run(init, ["hostname"]).stdout == "a\n"


# Ending by proof


def test_the_end_of_an_init_is_the_end_of_all_that_keeps_forking_away_from_it(scratch: Scratch, init: Init) -> None:
    flee = "import os\nprint(flush=True)\nwhile True:\n    if os.fork():\n        os._exit(0)\n    os.setsid()"
    for _ in range(3):
        with popen(init, [sys.executable, "-c", flee], stderr=DEVNULL, keep=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
    record = scratch.records[0]
    with Path(f"/proc/{record.pid}/ns/pid").open() as namespace:  # held, lest the kernel gives its number out again
        assert end(record, soon())
        assert living_in(os.fstat(namespace.fileno()).st_ino) <= {record.pid}  # a zombie for a moment


def test_many_inits_end_side_by_side_and_what_is_gone_has_ended(scratch: Scratch) -> None:
    for node in "abcd":
        scratch.init(node)
    assert end_all(scratch.records, soon()) == ()
    assert end_all(scratch.records, time.monotonic()) == ()


def test_an_init_that_has_ended_leaves_no_zombie_while_the_helper_lives(scratch: Scratch, init: Init) -> None:
    record = scratch.records[0]
    assert end(record, soon())
    until("its entry is gone", lambda: not Path(f"/proc/{record.pid}").exists())


@pytest.mark.parametrize("other", [{"starttime": 1}, {"boot_id": "00000000-0000-0000-0000-000000000000"}])
def test_a_recycled_pid_is_left_alone(other: dict[str, int | str]) -> None:
    with started(["sleep", "1000"]) as bystander:
        try:
            record = replace(InitRecord.of("a", bystander.pid), **other)  # type: ignore[arg-type]
            assert end(record, soon())
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_thread_that_got_the_pid_is_left_alone(scratch: Scratch) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, args=(SECONDS,))
    thread.start()
    try:
        assert thread.native_id is not None
        assert end(replace(InitRecord.of("a", os.getpid()), pid=thread.native_id), soon())
        assert not stop.is_set()
    finally:
        stop.set()
        thread.join(SECONDS)


def test_strays_of_our_namespaces_end_and_all_others_live(scratch: Scratch) -> None:
    inside, outside = scratch.netns("a"), scratch.netns("b")
    with (
        started(["nsenter", f"--net={inside}", "sh", "-c", "sleep 1000 & echo; wait"], stdout=PIPE) as stray,
        started(["nsenter", f"--net={outside}", "sh", "-c", "echo; exec sleep 1000"], stdout=PIPE) as other,
    ):
        try:
            for process in (stray, other):
                assert process.stdout is not None
                process.stdout.readline()
            assert end_strays([inside.stat().st_ino], soon()) == ()
            assert stray.wait(SECONDS) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            stray.kill()
            other.kill()


def test_who_looks_for_strays_is_none(scratch: Scratch) -> None:
    code = "import os, time; from lab.substrate.processes import end_strays; n = os.stat('/proc/self/ns/net').st_ino; "
    code += "print(end_strays([n], time.monotonic() + 5), 'and here I am')"
    argv = ["nsenter", f"--net={scratch.netns('a')}", sys.executable, "-c", code]
    assert subprocess.check_output(argv, cwd=REPOSITORY, text=True) == "() and here I am\n"


def test_a_process_with_a_name_is_found_by_whoever_comes_later_alive_and_ended(scratch: Scratch) -> None:
    init = scratch.init("a")
    assert init.find("daemon") is None
    with popen(init, ["sleep", "1000"], keep=True, name="daemon") as process:
        pid = process.pid
    found = init.find("daemon")
    assert isinstance(found, Running)
    with found:
        assert found.ns_pid == pid
        assert found.poll() is None
    again = init.find("daemon")
    assert isinstance(again, Running), "closing what was found ends nothing"
    with again:
        again.signal(signal.SIGTERM)
        assert again.wait(SECONDS) == -signal.SIGTERM
    assert init.find("daemon") == -signal.SIGTERM


def test_a_name_is_taken_while_its_process_lives_and_free_afterwards(scratch: Scratch) -> None:
    init = scratch.init("a")
    with popen(init, ["cat"], stdin=PIPE, name="daemon") as process:
        with pytest.raises(FileExistsError, match="a process of this name runs already"):
            popen(init, ["true"], name="daemon")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    assert init.find("daemon") == 0
    with popen(init, ["false"], name="daemon") as process:
        assert process.wait(SECONDS) == 1
    assert init.find("daemon") == 1


def test_what_could_not_be_started_has_no_name(scratch: Scratch) -> None:
    init = scratch.init("a")
    with pytest.raises(FileNotFoundError):
        popen(init, ["/no/such/daemon"], name="daemon")
    assert init.find("daemon") is None


def test_finding_a_process_a_thousand_times_costs_its_init_nothing(scratch: Scratch) -> None:
    init = scratch.init("a")
    with popen(init, ["sleep", "1000"], name="daemon"):
        descriptors = Path(f"/proc/{scratch.records[0].pid}/fd")
        before = len(list(descriptors.iterdir()))
        for _ in range(1000):
            found = init.find("daemon")
            assert isinstance(found, Running)
            found.close()
        until("the init has closed what its clients closed", lambda: len(list(descriptors.iterdir())) <= before)
