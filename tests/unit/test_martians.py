"""Whoever cannot read the kernel's log cannot know whether martians are logged; what reads the log says why not."""

from __future__ import annotations

import errno
import os

import pytest

from lab.substrate import martians


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENXIO])
def test_a_log_that_cannot_be_opened_does_not_speak_against_the_kernel(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """ENOENT: a container without the device."""

    def refuse(path: str, flags: int) -> int:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr("os.open", refuse)
    assert martians.logged()
