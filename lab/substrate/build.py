"""Carries out a plan: one helper thread goes from namespace to namespace and sends each its messages in batches.

Steps are done in the plan's order. Messages that go to one namespace one after another travel together; a failure is told
for the very step it belongs to. Descriptors are open for one batch only, so the number of nodes is not bounded by the limit
of open files.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import StepError
from lab.steps import (
    AddOvsPort,
    MakeDevice,
    MakeNamespace,
    MakeOvsBridge,
    MakeVeth,
    SetOffloads,
    SetSysctl,
    Step,
    TakeNamespace,
    renumbered,
)
from lab.substrate import baseline, namespaces, signals, userns
from lab.substrate.netlink import batch
from lab.substrate.netlink.messages import message_of

_BATCH = 64  # messages; also how many descriptors are open at once
_WHY_NOT = {
    "MakeNamespace": "is the limit of namespaces reached? see /proc/sys/user/max_net_namespaces",
    "SetSysctl": "does this kernel have it? an interface's sysctls exist once the interface does, IPv6's from MTU 1280 on",
}


def _hidden(step: Step, error: OSError) -> str | None:
    """The kernel registers some sysctls for the initial user namespace alone, such as net.ipv6.route and net.core.xfrm_*."""
    if isinstance(step, SetSysctl) and error.errno == errno.ENOENT and not userns.is_initial():
        return "without root, in a user namespace, the kernel shows fewer of them"
    return None


class Stopped(Exception):  # noqa: N818 - no failure: the caller asked for it
    """The build ended between two steps because its owner was interrupted."""


class Builder:
    """One build, in one run or several. `ns_of` says where a node's namespace is mounted, `run_of` where its /run lies for the
    host, `theirs` where the namespace of a container is found; `on_step` is told each step before it is done."""

    def __init__(
        self,
        ns_of: Callable[[str], Path],
        on_step: Callable[[Step], None] | None = None,
        run_of: Callable[[str], Path] = Path,
        theirs: Callable[[str], Path] = Path,
    ) -> None:
        self._theirs = theirs
        self._ns_of, self._on_step, self._run_of = ns_of, on_step, run_of
        self._stop = threading.Event()
        self._copies_ipv6 = baseline.copies_ipv6()
        self._inside: str | None = None
        self._deviations: baseline.Deviations | None = None
        self._of_devices: baseline.Deviations | None = None
        self._socket: socket.socket | None = None
        self._waiting: list[Step] = []
        self._switching: list[MakeOvsBridge | AddOvsPort] = []
        self._numbers: dict[str, dict[str, int]] = {}
        self._messages: list[bytes | bytearray] = []
        self._fds: dict[str, int] = {}

    def run(self, steps: Sequence[Step], meanwhile: Callable[[], None] | None = None) -> None:
        """Does `steps`, and `meanwhile` in the calling thread. Raises StepError, or what `meanwhile` raises; an interrupt of
        the main thread stops the build between two steps and goes on up."""
        helper = namespaces.Helper(lambda: self._work(steps))
        try:
            helper.start()
            if meanwhile:
                meanwhile()
            helper.result()
        except BaseException:
            self._stop.set()
            with signals.held_back():
                helper.join()
            raise

    def _work(self, steps: Sequence[Step]) -> None:
        try:
            for step in steps:
                if self._stop.is_set():
                    raise Stopped
                self._do(step)
            self._flush()
            self._switch()
        finally:
            self._let_go()

    def _do(self, step: Step) -> None:
        if self._on_step:
            self._on_step(step)
        if isinstance(step, (MakeOvsBridge, AddOvsPort)):
            self._flush()
            if isinstance(step, MakeOvsBridge):
                self._switch()
            self._switching.append(step)
            return
        self._switch()
        if step.node in self._numbers:
            step = self._renumbered(step, self._numbers[step.node])
        if isinstance(step, (MakeNamespace, TakeNamespace, SetSysctl, SetOffloads)):
            self._flush()
            self._do_directly(step)
            return
        if self._waiting and (self._waiting[0].node != step.node or len(self._waiting) >= _BATCH):
            self._flush()
        self._waiting.append(step)
        self._messages.append(message_of(step, self._fd_of))

    def _do_directly(self, step: Step) -> None:
        try:
            if isinstance(step, MakeNamespace):
                self._make_namespace(step.node)
                return
            if isinstance(step, TakeNamespace):
                self._take_namespace(step.node)
                return
            self._enter(step.node)
            if isinstance(step, SetSysctl):
                baseline.write(baseline.SYSCTL.joinpath(*step.parts), step.value)
            elif isinstance(step, SetOffloads):
                from lab.substrate.netlink import ethtool  # generic netlink costs 30 ms, and few labs need it

                ethtool.set_offloads(step.interface.index, step.interface.offloads)
        except OSError as error:
            why = "; ".join(filter(None, (str(error.filename or ""), _WHY_NOT.get(type(step).__name__), _hidden(step, error))))
            raise StepError(step.describe(), step.node, error.errno or 0, None, why) from error

    def _make_namespace(self, node: str) -> None:
        self._leave()
        namespaces.make(self._ns_of(node))
        self._inside = node
        if self._deviations is None:
            self._deviations = self._of_devices = baseline.deviations(ipv6=self._copies_ipv6)
        for path, value in self._deviations.own:
            baseline.write(path, value)

    def _take_namespace(self, node: str) -> None:
        """One that somebody else made, and has set as he likes: what differs in it is found anew."""
        self._leave()
        namespaces.take(self._theirs(node), self._ns_of(node))
        self._enter(node)
        found = baseline.deviations(foreign=True)
        self._of_devices = self._of_devices or found
        for path, value in found.own:
            baseline.write(path, value)

    def _enter(self, node: str) -> None:
        if self._inside != node:
            self._leave()
            namespaces.enter(self._ns_of(node))
            self._inside = node

    def _leave(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._inside = None

    def _fd_of(self, node: str) -> int:
        if node not in self._fds:
            self._fds[node] = os.open(self._ns_of(node), os.O_RDONLY | os.O_CLOEXEC)
        return self._fds[node]

    def _flush(self) -> None:
        if not self._waiting:
            return
        steps, messages = self._waiting, self._messages
        self._waiting, self._messages = [], []
        self._enter(steps[0].node)
        if self._socket is None:
            self._socket = batch.open_socket()
        refusals = batch.send(self._socket, messages)
        self._close_fds()
        if refusals:
            first = refusals[0]
            step = steps[first.at]
            raise StepError(step.describe(), step.node, first.code, first.extack)
        if self._of_devices and self._of_devices.neighbour:
            self._settle_neighbours(steps, self._of_devices)

    def _switch(self) -> None:
        """Has an Open vSwitch carry out what waits for it, and learns the ifindexes of devices that it made."""
        if not self._switching:
            return
        from lab.substrate import ovsdb

        steps, self._switching = self._switching, []
        node = steps[0].node
        try:
            refusal = ovsdb.carry_out(self._run_of(node) / ovsdb.SOCKET, steps)
        except ovsdb.OvsdbError as error:
            refusal = ovsdb.Refusal(0, str(error))
        if refusal:
            raise StepError(steps[refusal.at].describe(), node, why=f"Open vSwitch says: {refusal.why}")
        self._enter(node)
        made = [step.interface.name for step in steps if step.interface.kind == "internal"]
        self._numbers[node] = {name: socket.if_nametoindex(name) for name in made}

    def _renumbered(self, step: Step, numbers: dict[str, int]) -> Step:
        """The kernel numbered what the switch made as it liked: what comes after it must keep clear of that."""
        if isinstance(step, MakeDevice):
            self._enter(step.node)
            taken = (*numbers.values(), *(number for number, _ in socket.if_nameindex()))
            numbers[step.interface.name] = 1 + max(taken)
        return renumbered(step, numbers)

    def _settle_neighbours(self, steps: Sequence[Step], deviations: baseline.Deviations) -> None:
        """Gives the devices that `steps` made the kernel's own neighbour settings instead of the host's."""
        for step in steps:
            made = (step.near, step.far) if isinstance(step, MakeVeth) else ()
            for interface in (step.interface,) if isinstance(step, MakeDevice) else made:
                self._enter(interface.node)
                baseline.write_all(deviations.of_device(interface.name))

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _let_go(self) -> None:
        self._leave()
        self._close_fds()
