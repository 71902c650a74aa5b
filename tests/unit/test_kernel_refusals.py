"""What apt-get says when it fails becomes what is wrong and what to do; texts as apt 2.6 and 3.0 write them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lab.errors import HostError
from lab.kernels import cache, refusals

SAID = {
    "the mirror cannot be reached": """\
Err:1 http://deb.debian.org/debian bookworm InRelease
  Temporary failure resolving 'deb.debian.org'
E: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'deb.debian.org'
E: Some index files failed to download. They have been ignored, or old ones used instead.""",
    "is not signed by Debian": """\
W: GPG error: http://m bookworm InRelease: The following signatures were invalid: BADSIG 0E98404D386FA1D9 Debian Archive
E: The repository 'http://m bookworm InRelease' is not signed.""",
    "is older than it says": """\
E: Release file for http://m/dists/sid/InRelease is expired (invalid since 15d 6h 39min 45s). Updates will not be applied.""",
    "there is no room left": """\
E: Failed to fetch http://m/pool/l.deb  Error writing to file - write (28: No space left on device)
E: Sub-process returned: Connection failed""",
    "does not have it (any more)": """\
E: Failed to fetch http://m/pool/l.deb  404  Not Found [IP: 1.2.3.4 80]
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?""",
    "apt-get failed": "E: Something new went wrong",
}


@pytest.mark.parametrize("why", SAID)
def test_a_failure_says_what_is_wrong_and_what_to_do(why: str) -> None:
    error = refusals.refusal("the lists of bookworm could not be fetched", SAID[why])
    assert str(error).startswith("the lists of bookworm could not be fetched: ")
    assert why in str(error)
    assert "apt: E: " in str(error)
    assert error.problems[0].hint
    assert error.exit_status == 3


# -- the cache


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert cache.root() == Path("/x/cache/lab/kernels")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/u")
    assert cache.root() == Path("/home/u/.cache/lab/kernels")
    monkeypatch.setenv("LAB_CACHE", "/big/disk")
    assert cache.root() == Path("/big/disk/kernels")


def test_a_scratch_folder_is_gone_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), cache.scratch(tmp_path) as folder:
        (folder / "half").write_text("x")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".new-left"
    left.mkdir()
    (left / "half").write_text("x")
    with cache.scratch(tmp_path) as mine, cache.scratch(tmp_path):
        assert not left.exists()
        assert mine.exists()


def test_a_file_is_kept_whole(tmp_path: Path) -> None:
    cache.keep(tmp_path / "deep/file", b"old")
    cache.keep(tmp_path / "deep/file", b"new", 0o755)
    assert (tmp_path / "deep/file").read_bytes() == b"new"
    assert os.listdir(tmp_path / "deep") == ["file"]  # noqa: PTH208 - names


@pytest.mark.parametrize(
    ("code", "why"), [(errno.ENOSPC, "no room left"), (errno.EDQUOT, "no room left"), (errno.EROFS, "cannot be written")]
)
def test_what_the_disk_refuses_is_told_with_the_folder(code: int, why: str) -> None:
    with pytest.raises(HostError, match=why) as refused, cache.told(Path("/the/cache")):
        raise OSError(code, os.strerror(code))
    assert "/the/cache" in str(refused.value)
    assert "LAB_CACHE" in str(refused.value)
