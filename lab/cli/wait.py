"""`lab wait`: until something is true of a living lab, said in words."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from lab.cli import progress
from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.live import Lab
    from lab.observe.conditions import Condition, Ran, Seen
    from lab.observe.spoken import Sentence

NEVER_CAME_TRUE = 1
_LEAST = 0.05  # seconds that a command gets though the deadline is here: the first look is always whole


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise click.BadParameter("is a number of seconds, 0 or more")
    return value


@click.command()
@click.argument("lab")
@click.argument("condition", nargs=-1, required=True)
@click.option(
    "--timeout", type=float, default=30.0, metavar="SECONDS", callback=_seconds, help="Give up after this; after 30 otherwise."
)
@common
@settings
def wait(settings: Settings, lab: str, condition: tuple[str, ...], timeout: float) -> int:
    """Wait until something is true of a living lab.

    CONDITION is words, so that nothing needs quoting. Changes are heard from the kernel where it tells of them, and looked
    for every hundredth of a second where it does not. Nothing is changed.

    \b
      ready                           carriers, addresses and services of the lab
      NODE carrier DEVICE             the device is up and has its carrier
      NODE address ADDRESS [DEVICE]   it is there, and no longer tentative
      NODE listening tcp/PORT         a socket listens; udp/PORT: it is bound
      NODE route PREFIX               the main table has it; or: route default
      NODE neighbour ADDRESS          its MAC address is known
      NODE reaches ADDRESS            an echo request is answered
      NODE runs -- COMMAND...         the command ends with status 0
      NODE gone ...                   the opposite of any that names a node

    \b
    Exit status:
      0  it is true       1  it did not become true in time; the last look is told
      2  no such lab, node or condition       3  the host cannot

    \b
    Example:
      lab wait monday ready
      lab wait monday client listening tcp/80 --timeout 5
      lab wait monday client gone route default
      lab wait monday client runs -- curl -sf http://10.0.0.2/

    See also: lab inspect, lab exec
    """
    from lab import host, live
    from lab.observe import spoken

    host.require_root()
    found = live.Lab.attach(lab)
    start = time.monotonic()
    sentence = spoken.read(condition, list(found.nodes), _runner(found, start + timeout))
    with progress.line(settings, lambda: f"waiting: {' '.join(condition)}"):
        holds, said = _waited(found, sentence, timeout)
    settings.decided()
    took = time.monotonic() - start
    if settings.json:
        data = {"lab": lab, "condition": " ".join(condition), "holds": holds, "said": said, "seconds": round(took, 3)}
        envelope("wait", data)
    elif holds and settings.verbosity >= 0:
        print(f"{said}, after {took:.2f} s")
    if not holds:
        say(f"lab: {said}")
    return 0 if holds else NEVER_CAME_TRUE


def _waited(lab: Lab, sentence: Sentence, timeout: float) -> tuple[bool, str]:
    """Whether it became true, and in words what it was, or what was seen at last."""
    if sentence.node is None or sentence.condition is None:
        return _ready(lab, timeout)
    from lab.observe import conditions

    condition = _WhileUp(sentence.condition, str(lab.directory / "lab.json"))
    try:
        conditions.wait(lab[sentence.node].ns, sentence.node, condition, timeout)
    except conditions.ConditionTimeout as error:
        return False, str(error)
    return True, f"on node {sentence.node}: {condition}"


def _ready(lab: Lab, timeout: float) -> tuple[bool, str]:
    from lab.errors import StepError

    try:
        lab.wait_ready(timeout)
    except StepError as error:
        return False, f"lab {lab.name} is not ready: {error.__cause__ or str(error).partition(chr(10))[2].strip()}"
    return True, f"lab {lab.name} is ready"


class _WhileUp:
    """Another condition, which will not come true any more once the lab is gone: this process's look keeps the namespace."""

    def __init__(self, condition: Condition, record: str) -> None:
        self.condition, self._record = condition, record
        self.groups = condition.groups
        self.pause = getattr(condition, "pause", 0.01)

    def __str__(self) -> str:
        return str(self.condition)

    def look(self) -> Seen:
        from lab.observe.conditions import Seen

        if not os.path.exists(self._record):  # noqa: PTH110 - at every look
            return Seen(False, "the lab has gone down", final=True)
        return self.condition.look()


def _runner(lab: Lab, deadline: float) -> Callable[[str, Sequence[str]], Ran]:
    """Runs a command on a node, until the deadline at the latest. Raises HostError where it cannot be started."""

    def run(node: str, argv: Sequence[str]) -> Ran:
        from lab.errors import HostError
        from lab.observe.conditions import Ran
        from lab.substrate.processes import CommandTimeout

        try:
            result = lab[node].run(argv, check=False, timeout=max(deadline - time.monotonic(), _LEAST))
        except CommandTimeout:
            return Ran(None, "")
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise HostError(f"{argv[0]} cannot be run on node {node}: {why}", "is the program installed?") from error
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        return Ran(result.status, said[-1] if said else "")

    return run


COMMANDS = (wait,)
