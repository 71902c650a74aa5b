"""`--untrusted` without root: the same by a user namespace."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.user import User, new_user, until_gone

from lab import kernels

pytestmark = [pytest.mark.root, pytest.mark.soak]

SECONDS = 400.0  # for the whole of a run on a busy host
SCENARIO = '''
"""A scenario."""
import os

from lab import Lab


def test_check():
    """Nothing of its user's is seen, and a lab comes up."""
    assert not os.path.lexists({secret!r})
    with Lab.up("two-hosts") as lab:
        lab["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
'''


@pytest.fixture
def user() -> Iterator[User]:
    with new_user(subordinate=False) as found:
        yield found
        until_gone(found)


@pytest.fixture
def cache(user: User, stock: str) -> Path:
    """The user's own copy of the kernel."""
    folder, kernel = user.home / "cache", kernels.find(stock)
    shutil.copytree(kernel.image.parent, folder / "kernels" / kernel.image.parent.name, symlinks=True)
    shutil.copytree(kernel.image.parents[1] / "tools", folder / "kernels" / "tools")
    subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", folder], check=True)
    return folder


def test_an_ordinary_users_guest_sees_nothing_of_the_users(user: User, cache: Path, stock: str) -> None:
    secret = user.write("secret", "x")
    path = user.write("bug.py", SCENARIO.format(secret=str(secret)))
    words: list[str | Path] = [*user.lab, "--kernel", stock, "--untrusted", "run", path]
    said = user.run(*words, env={"LAB_CACHE": str(cache)}, timeout=SECONDS)
    assert said.status == 0, said.stdout + said.stderr
    assert "untrusted" in said.stderr
