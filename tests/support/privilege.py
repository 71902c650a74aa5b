"""Running a command without any privilege over this host, whoever runs the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SECONDS = 30.0
# CLONE_NEWUSER without a map: the kernel calls such a user 65534 (Documentation/admin-guide/sysctl/kernel.rst, overflowuid).
_ENTER = "import ctypes, os, sys; assert not ctypes.CDLL(None).unshare(0x10000000); os.execv(sys.argv[1], sys.argv[1:])"


def without_privilege(*argv: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `argv`, whose first word is a path, in a user namespace of its own; its files stay readable."""
    words = [sys.executable, "-c", _ENTER, *(str(word) for word in argv)]
    return subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, cwd=cwd, check=False)
