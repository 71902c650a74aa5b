"""Many labs at the same time, from one file, in many processes and in many threads: none sees another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.commands import SECONDS, Said, lab, well
from support.topologies import ALONE, PAIR
from support.world import look, until_as

from lab import Lab, TopologyError

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
LABS = 8
SWITCHED = """\
name: {name}
nodes: {{lan: {{kind: switch}}, a: {{}}, b: {{}}}}
links:
  - {{endpoints: [a, lan], addresses: {{a: 10.0.0.1/24}}}}
  - {{endpoints: [b, lan], addresses: {{b: 10.0.0.2/24}}}}
"""


def all_at_once(do: Callable[[str], Said], names: Iterable[str]) -> list[Said]:
    with ThreadPoolExecutor(LABS) as pool:
        return list(pool.map(do, names))


def statuses(said: list[Said]) -> list[int]:
    return [each.status for each in said]


def test_eight_labs_from_one_file_go_up_work_and_go_down_side_by_side(topology: Write, name: str) -> None:
    file, names = topology(SWITCHED), [f"{name}-{number}" for number in range(LABS)]
    ups = all_at_once(lambda each: lab("up", file, "--name", each), names)
    assert statuses(ups) == [0] * LABS, [each.stderr for each in ups]
    assert [each["status"] for each in well("ls", "-f", "json").json("labs")] == ["up"] * LABS
    pings = all_at_once(lambda each: lab("exec", each, "a", "--", "ping", "-c1", "-W5", "10.0.0.2"), names)
    assert statuses(pings) == [0] * LABS
    macs = {lab("exec", each, "b", "--", "cat", "/sys/class/net/eth0/address").stdout for each in names}
    assert len(macs) == LABS
    downs = all_at_once(lambda each: lab("down", each), names)
    assert statuses(downs) == [0] * LABS, [each.stderr for each in downs]


def test_eight_labs_live_in_eight_threads_of_one_process(topology: Write, name: str) -> None:
    file = topology(PAIR)

    def live(number: int) -> int:
        with Lab.up(file, name=f"{name}-{number}") as made:
            made["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
            return made["a"].ns.stat().st_ino

    with ThreadPoolExecutor(LABS) as pool:
        assert len(set(pool.map(live, range(LABS)))) == LABS


def test_of_eight_that_want_one_name_one_gets_it(topology: Write, name: str) -> None:
    file = topology(ALONE)
    ups = all_at_once(lambda each: lab("up", file, "--name", each), [name] * LABS)
    assert sorted(statuses(ups)) == [0] + [2] * (LABS - 1), [each.stderr for each in ups]
    assert sum(f"a lab named '{name}' exists already" in each.stderr for each in ups) == LABS - 1
    well("exec", name, "a", "--", "true")
    well("down", name)


def test_of_eight_that_end_one_lab_each_ends_it_or_is_told_that_it_is_gone(topology: Write, name: str) -> None:
    well("up", topology(PAIR))
    well("exec", name, "a", "--", "true")
    downs = all_at_once(lambda each: lab("down", each), [name] * LABS)
    assert set(statuses(downs)) <= {0, 2}, [each.stderr for each in downs]
    assert 0 in statuses(downs)


def test_the_next_lab_may_have_a_name_as_soon_as_its_last_one_is_gone(topology: Write, name: str) -> None:
    file = topology(ALONE)
    for _ in range(5):
        with Lab.up(file), pytest.raises(TopologyError), Lab.up(file):
            pass


def test_listing_and_pruning_all_the_while_disturbs_nobody(topology: Write, name: str) -> None:
    file, before = topology(ALONE), look()

    def come_and_go(number: int) -> None:
        for _ in range(4):
            with Lab.up(file, name=f"{name}-{number}") as made:
                made["a"].run(["true"])

    with ThreadPoolExecutor(3) as pool:
        labs = [pool.submit(come_and_go, number) for number in range(3)]
        commands = []
        while not all(each.done() for each in labs):
            commands += [lab("ls"), lab("prune")]
        for each in labs:
            each.result()
    assert [each.stderr for each in commands if each.status] == []
    assert [each.stdout for each in commands[1::2] if each.stdout] == []
    until_as(before)


def test_two_processes_may_make_the_init_of_one_node_at_the_same_time(topology: Write, name: str) -> None:
    well("up", topology(ALONE))
    said = all_at_once(lambda each: lab("exec", each, "a", "--", "readlink", "/proc/self/ns/pid"), [name] * 4)
    assert statuses(said) == [0] * 4, [each.stderr for each in said]
    assert len({each.stdout for each in said}) == 1
    well("down", name)


def test_a_large_lab_needs_no_more_descriptors_than_the_usual_limit(tmp_path: Path, name: str) -> None:
    """1024 is what a shell gives; each of these has two ends of a link and a namespace."""
    hosts = range(400)
    file = tmp_path / "star.yaml"
    links = "".join(f"  - {{endpoints: [h{number}, lan]}}\n" for number in hosts)
    nodes = "".join(f"  h{number}: {{}}\n" for number in hosts)
    file.write_text(f"name: {name}\nnodes:\n  lan: {{kind: switch}}\n{nodes}links:\n{links}")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); from lab.__main__ import main; main()"
    )
    for words in (("up", str(file)), ("down", name)):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=2 * SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
