"""What `make test` and `make bench` bring: through the one way by which lab installs packages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lab.doctor import apt, programs
from lab.errors import HostError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def packages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packages", REPOSITORY / "tools/packages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tests_need_what_they_call_and_what_the_roles_call(packages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = {
        "x": SimpleNamespace(program="no-such", package="no-such-package"),
        "y": SimpleNamespace(program="sh", package=None),
    }
    monkeypatch.setattr(programs, "shipped_roles", lambda: roles)
    monkeypatch.setattr(programs, "where", lambda program: "" if program in ("no-such", "tc", "bridge") else "/bin/it")
    assert packages.lacking(["test"]) == ["iproute2", "no-such-package"]
    assert packages.lacking(["bench"]) == []


def test_where_they_cannot_be_brought_it_says_so_and_goes_on(
    packages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: list[str]) -> apt.Installed:
        raise HostError("installing packages needs root", "apt-get install gcc")

    monkeypatch.setattr(apt, "install", refuse)
    monkeypatch.setattr(packages, "lacking", lambda _: ["gcc"])
    packages.main()
    assert capsys.readouterr().err == "installing packages needs root\n    apt-get install gcc\n"


def test_what_it_brought_is_said(
    packages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apt, "install", lambda asked: apt.Installed(tuple(asked), ("gcc",)))
    monkeypatch.setattr(packages, "lacking", lambda _: ["gcc"])
    packages.main()
    assert "installed: gcc" in capsys.readouterr().err


def test_the_makefile_installs_by_nothing_else() -> None:
    recipes = (REPOSITORY / "Makefile").read_text()
    assert "apt-get" not in recipes
    assert set(re.findall(r"tools/[\w.]+", recipes)) == {"tools/venv", "tools/packages.py"}
    assert "lab doctor --install" in recipes
