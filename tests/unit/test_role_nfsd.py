"""What the role nfsd answers the kernel, as its caches ask; the server itself runs in guests (source-vipa)."""

from __future__ import annotations

import runpy

import pytest

from lab.topology.shipped import shipped_templates

NFSD = runpy.run_path(str(shipped_templates() / "nfsd" / "nfsd.py"))
FOREVER = 0x7FFFFFFF


@pytest.mark.parametrize(
    ("cache", "question", "answer"),
    [
        ("auth.unix.ip", "nfsd 10.0.0.1\n", f"nfsd 10.0.0.1 {FOREVER} everybody\n"),
        ("nfsd.fh", "everybody 1 \\x00000000\n", f"everybody 1 \\x00000000 {FOREVER} /run/my\\040files\n"),
        ("nfsd.fh", "everybody 6 \\x01020304\n", f"everybody 6 \\x01020304 {FOREVER}\n"),
        ("nfsd.export", "everybody /run/my\\040files\n", f"everybody /run/my\\040files {FOREVER} 9219 65534 65534 0\n"),
        ("nfsd.export", "everybody /etc\n", f"everybody /etc {FOREVER}\n"),
    ],
)
def test_every_client_gets_the_one_directory_and_nothing_else(cache: str, question: str, answer: str) -> None:
    assert NFSD["answer"](cache, question, "/run/my files", False) == answer


def test_who_may_write_is_not_told_that_it_is_read_only() -> None:
    read_only, writable = (NFSD["answer"]("nfsd.export", "everybody /x\n", "/x", each) for each in (False, True))
    assert (int(read_only.split()[3]) & 1, int(writable.split()[3]) & 1) == (1, 0)
