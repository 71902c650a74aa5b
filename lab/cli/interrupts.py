"""SIGINT and SIGTERM: exceptions that undo what was begun, and exit statuses. Holding them back is `lab.substrate.signals`."""

from __future__ import annotations

import signal
import time
from types import FrameType

_ONE_PRESS = 1.0  # seconds


class Terminated(BaseException):
    """SIGTERM came: undo, then end."""


class Interrupts:
    """Takes both signals over. `status` is what the command ends with, once one of them was heard.

    What comes within a second of the first is the same impatience: raised again, it would meet the undo that the first
    began. Later ones are heard, since Python drops an exception that is raised inside a destructor. A signal that was
    ignored when the command started (nohup(1), a shell's background) stays ignored."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._heard = -_ONE_PRESS
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._heard < _ONE_PRESS:
            return
        self._heard, self.status = now, 128 + number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def decided(self) -> None:
        """All is done and told: what comes now changes nothing about it."""
        self._heard = float("inf")
