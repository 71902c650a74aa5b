"""A stream of numbered records to an echo server, and the way that packets take meanwhile."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab
from lab.observe import way
from lab.observe.conditions import ConditionTimeout
from lab.observe.echo import Echo
from lab.observe.reading import RECORD, Reading
from lab.observe.stream import Stream
from lab.observe.way import Follower, Way

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
A_WHILE = 5  # seconds, for which a busy machine lets no process wait
TWO_WAYS = """\
name: {name}
defaults: {{links: {{nodad: true}}}}
nodes:
  a: {{interfaces: {{lo: {{addresses: [10.0.9.1/32]}}}}, routes: [{{to: 10.0.9.2/32, via: 10.0.1.2, src: 10.0.9.1}}]}}
  b: {{interfaces: {{lo: {{addresses: [10.0.9.2/32]}}}}, routes: [{{to: 10.0.9.1/32, via: 10.0.2.1}}]}}
links:
  - {{endpoints: ["a:eth0", "b:eth0"], addresses: {{a: [10.0.1.1/24, "2001:db8::1/64"], b: [10.0.1.2/24, "2001:db8::2/64"]}}}}
  - {{endpoints: ["a:eth1", "b:eth1"], addresses: {{a: 10.0.2.1/24, b: 10.0.2.2/24}}}}
"""


@pytest.fixture
def two(topology: Write) -> Iterator[Lab]:
    with Lab.up(topology(TWO_WAYS)) as lab:
        yield lab


def test_a_gap_is_as_long_as_nothing_came_back_and_no_record_is_lost(two: Lab) -> None:
    a = two["a"]
    with Echo(two["b"].socket) as echo, Stream(a.socket, "10.0.9.2") as stream:
        stream.wait_on()
        assert stream.longest().seconds < A_WHILE
        began = time.monotonic()
        two["b"].run(["ip", "route", "replace", "blackhole", "10.0.9.1/32"])
        with pytest.raises(ConditionTimeout, match=r"10\.0\.9\.1 to 10\.0\.9\.2 does not go on: 0\.5 s have passed"):
            stream.wait_on(0.5)
        two["b"].run(["ip", "route", "replace", "10.0.9.1/32", "via", "10.0.2.1"])
        stream.wait_on()
        assert 0.5 <= stream.longest(began).seconds < 10
        assert (stream.source, stream.error) == ("10.0.9.1", None)
    assert [each.source for each in echo.asked] == ["10.0.9.1"]


def test_a_stream_that_nobody_acknowledges_dies_when_its_patience_is_over(two: Lab) -> None:
    with Echo(two["b"].socket), Stream(two["a"].socket, "10.0.9.2", patience=0.5) as stream:
        stream.wait_on()
        two["b"].run(["ip", "route", "replace", "blackhole", "10.0.9.1/32"])
        assert stream.wait_dead().errno == errno.ETIMEDOUT
        with pytest.raises(ConditionTimeout, match="it died"):
            stream.wait_on()


def test_a_file_is_read_record_by_record_until_that_fails(two: Lab) -> None:
    a = two["a"]
    a.run(["sh", "-c", f"seq -f {RECORD} 0 2 > /run/records"])
    with Reading(a.spawn, "/run/records") as file:
        file.wait_on()
        before = file.received
        file.wait_on()
        assert file.received > before > 3
        assert (file.longest().seconds < 10, file.error) == (True, None)
        a.run(["sh", "-c", f"seq -f {RECORD} 5 9 > /run/others && mv /run/others /run/records"])
        file.wait_on()  # the file that was opened is still there
    with Reading(a.spawn, "/run/records") as file:
        assert str(file.wait_dead()) == "[Errno 0] record 5 came where 0 was due"
        with pytest.raises(ConditionTimeout, match="reading /run/records on a does not go on: it died"):
            file.wait_on()
    with Reading(a.spawn, "/run/none") as file:
        assert "No such file" in str(file.wait_dead())


def test_a_datagram_is_sent_back_and_remembered(two: Lab) -> None:
    with Echo(two["b"].socket) as echo, two["a"].socket(2, 2) as sock:
        sock.settimeout(5.0)
        sock.sendto(b"hello", ("10.0.1.2", 7))
        assert sock.recv(9) == b"hello"
        assert echo.wait(lambda asked: asked.data == b"hello").source == "10.0.1.1"


def test_the_way_to_an_address_is_what_the_kernel_would_take(two: Lab) -> None:
    ns = two["a"].ns
    assert way.of(ns, "10.0.9.2") == Way("eth0", "10.0.1.2", "10.0.9.1")
    assert way.of(ns, "10.0.2.2") == Way("eth1", "", "10.0.2.1")
    assert way.of(ns, "2001:db8::2") == Way("eth0", "", "2001:db8::1")
    assert (way.of(ns, "192.0.2.1"), str(way.of(ns, "192.0.2.1"))) == (Way(), "no way")


def test_a_follower_sees_when_the_way_changes(two: Lab) -> None:
    a = two["a"]
    with Follower(a.ns, "10.0.9.2") as follower:
        began = time.monotonic()
        a.run(["ip", "route", "replace", "10.0.9.2/32", "via", "10.0.2.2"])
        a.wait(lambda: follower.now.device == "eth1", 5, "the follower has seen it")
        assert [each.device for _, each in follower.ways] == ["eth0", "eth1"]
        assert 0 < follower.settled(began) < 5
        assert follower.settled(time.monotonic()) == 0
