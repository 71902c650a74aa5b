"""What is compiled for a guest: what pytest makes of an experiment's assertions, under the name that it looks for."""

from __future__ import annotations

import os
from pathlib import Path

from lab.guest import compiled


def test_an_experiment_is_compiled_where_it_is_new_or_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "check.py"
    path.write_text("def test_it():\n    assert 1 + 1 == 2\n")
    assert compiled._is_stale(path)
    compiled._collect([str(path)])
    assert not compiled._is_stale(path)
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))
    assert compiled._is_stale(path)


def test_one_that_is_no_python_is_left_to_the_guest(tmp_path: Path) -> None:
    path = tmp_path / "check.py"
    path.write_text("def test_x(:\n")
    compiled._collect([str(path)])
    assert compiled._is_stale(path)
