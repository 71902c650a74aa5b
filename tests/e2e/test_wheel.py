"""What a user installs: the wheel holds all that lab needs and nothing else, and works from an empty venv in another folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import REPOSITORY, host
from support.world import look

from lab import __version__
from lab.live import unique_name

SECONDS = 300.0
Run = Callable[..., subprocess.CompletedProcess[str]]


def files_below(*folders: str) -> set[str]:
    """What the checkout has there, as paths from the root of the repository."""
    found = (path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(REPOSITORY)) for path in found if path.suffix != ".pyc"}


def build(folder: Path) -> Path:
    """By what pyproject.toml names, into a folder outside of the checkout."""
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(argv, check=True, capture_output=True, cwd=folder, timeout=SECONDS)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a program of a venv that holds the wheel and what it asks for, from an empty folder."""
    home, elsewhere = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("elsewhere")
    venv.create(home, with_pip=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [home / "bin" / program, *words]
        return subprocess.run(
            argv, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    done = run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    assert done.returncode == 0, done.stderr
    yield run
    assert list(elsewhere.iterdir()) == []


def test_the_wheel_is_named_after_the_distribution_and_runs_on_any_platform(wheel: Path) -> None:
    assert wheel.name == f"netns_lab-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_whole_package_and_nothing_else(content: set[str]) -> None:
    shipped = {f"lab/{path}" for path in files_below("topologies", "templates")}
    metadata = {path for path in content if path.startswith(f"netns_lab-{__version__}.dist-info/")}
    assert content - metadata == files_below("lab") | shipped


def test_the_wheel_holds_what_is_no_python(content: set[str]) -> None:
    wanted = {
        "lab/topologies/two-hosts.yaml",
        "lab/topologies/rp-filter.yaml",
        "lab/scenarios/pytest.ini",
        "lab/new/files/network.yaml",
        "lab/new/files/workflow.yml",
        "lab/templates/README.md",
        "lab/templates/radvd/role.yaml",
        "lab/templates/radvd/radvd.conf.j2",
        "lab/templates/radvd/_macros.j2",
    }
    assert wanted <= content


def test_the_wheel_holds_no_test_no_bytecode_and_nothing_of_the_workshop(content: set[str]) -> None:
    strange = re.compile(
        r"(^|/)(tests?|conftest\.py|build|tools|__pycache__|\.(?!zshenv$|zshrc$).*)(/|$)|\.pyc$"
    )  # zsh reads no others
    assert [path for path in sorted(content) if strange.search(path)] == []


def test_the_wheel_declares_its_command_its_fixture_and_its_licence(wheel: Path) -> None:
    info = f"netns_lab-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        points = archive.read(f"{info}/entry_points.txt").decode().split()
        metadata = archive.read(f"{info}/METADATA").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert "".join(points) == "[console_scripts]lab=lab.__main__:main[pytest11]lab=lab.pytest_plugin"
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_building_writes_nothing_into_the_checkout(tmp_path: Path) -> None:
    before = {path.name for path in REPOSITORY.iterdir()}
    build(tmp_path)
    assert {path.name for path in REPOSITORY.iterdir()} == before


def test_the_installed_command_knows_its_version_its_topologies_and_its_experiments(installed: Run) -> None:
    assert installed("lab", "--version").stdout == f"lab {__version__}\n"
    said = installed("lab", "validate", "two-hosts")
    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("lab/topologies/two-hosts.yaml: two-hosts is well: 2 nodes, 1 link\n")
    assert str(REPOSITORY) not in said.stdout
    assert "\nrp-filter " in installed("lab", "scenarios").stdout


def test_what_is_installed_fits_together(installed: Run) -> None:
    said = installed("python", "-m", "pip", "check", "--disable-pip-version-check")
    assert said.returncode == 0, said.stdout


@pytest.mark.root
def test_the_installed_command_brings_a_lab_up_and_down(installed: Run) -> None:
    before, name = look(), unique_name("wheel")
    said = installed("lab", "up", "two-hosts", "--name", name)
    assert said.returncode == 0, said.stderr
    try:
        assert "10.0.0.1/24" in host("ip", "-n", f"{name}.a", "-br", "addr")
        said = installed("lab", "exec", name, "a", "--", "ping", "-c1", "-W5", "10.0.0.2")
        assert said.returncode == 0, said.stderr
    finally:
        assert installed("lab", "down", name).returncode == 0
    assert look() == before


@pytest.mark.root
def test_the_installed_command_runs_an_experiment(installed: Run) -> None:
    said = installed("lab", "run", "rp-filter")
    assert said.returncode == 0, said.stdout + said.stderr
    assert " held, in " in said.stdout.splitlines()[-1]


@pytest.mark.root
def test_pytest_of_the_venv_finds_the_fixture_in_a_project_begun_by_lab_new(installed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    assert installed("lab", "new", folder).returncode == 0
    done = installed("python", "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", folder)
    assert re.search(r"^=+ 2 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
