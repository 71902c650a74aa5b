"""What a stranger's work may see, before anything runs: the lists of what is allowed, what belongs to an input, the tree."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from lab import recipe
from lab.cli import guests
from lab.cli.options import Settings
from lab.errors import HostError, TopologyError
from lab.guest import allowed, inputs, qemu, share, trial
from lab.guest.frames import WINDOW, Frame, Kind, file_frame
from lab.guest.harmless import Harmless, line
from lab.guest.session import Job, Session, TamperedError, _heeded, _Results, _Streams
from lab.guest.spec import Guest, Substrate, Tree

TOKEN = "7" * 32
HELD = {"here": TOKEN, "tried": dict.fromkeys(trial.ATTEMPTS, ""), "escapes": []}


@pytest.fixture
def made(tmp_path: Path) -> Tree:
    """With a stranger's file."""
    for name in ("vmlinux", "initrd", "bug.yaml"):
        (tmp_path / name).touch()
    for name in ("modules", "trial"):
        (tmp_path / name).mkdir()
    elf, initrd, modules, place = (tmp_path / name for name in ("vmlinux", "initrd", "modules", "trial"))
    (tmp_path / "bug.yaml").chmod(0o644)
    return share.tree([tmp_path / "bug.yaml"], elf, initrd, modules, place, [])


# Lists.


def test_no_file_of_etc_is_allowed_that_only_some_may_read() -> None:
    """On this host, whatever it is."""
    for name in allowed.ETC:
        path = Path("/etc", name)
        if path.exists():
            assert path.stat().st_mode & stat.S_IROTH, path


@pytest.mark.parametrize(
    "name",
    ["shadow", "gshadow", "passwd-", "shadow-", "ssh", "ssl", "ssl/private", "machine-id", "fstab", "environment", "frr"],
)
def test_what_can_hold_a_secret_is_not_allowed(name: str) -> None:
    assert name not in allowed.ETC
    assert not [each for each in allowed.ETC if name.startswith(f"{each}/")]


def test_of_the_environment_is_told_how_output_looks_and_nothing_else() -> None:
    own = {
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "LAB_VERBOSE": "1",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HOME": "/home/u",
        "PATH": "/p",
    }
    told = allowed.environment(own)
    assert {name: told[name] for name in ("LANG", "NO_COLOR", "LAB_VERBOSE")} == {
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "LAB_VERBOSE": "1",
    }
    assert "AWS_SECRET_ACCESS_KEY" not in told
    assert (told["HOME"], "/p" in told["PATH"]) == ("/root", False)


def test_a_job_of_a_strangers_is_told_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_SECRET", TOKEN)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    said, open_ = (Job(["run"], untrusted=untrusted).said("6.1") for untrusted in (True, False))
    assert (TOKEN in str(said), TOKEN in str(open_)) == (False, True)
    assert (str(tmp_path / "own") in said["path"], str(tmp_path / "own") in open_["path"]) == (False, True)
    assert said["env"]["LAB_GUEST"] == open_["env"]["LAB_GUEST"] == "6.1"


# Inputs.


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_scenario_comes_with_what_belongs_to_it_and_no_other_neighbour(tmp_path: Path) -> None:
    files(tmp_path, "bug.py", "bug.yaml", "conftest.py", "templates/x/role.yaml", "other.yaml", "secret", ".env")
    found = inputs.of_scenarios([f"{tmp_path}/bug.py::test_x"])
    assert {path.name for path in found} == {"bug.py", "bug.yaml", "conftest.py", "templates"}


def test_a_topology_comes_with_its_templates(tmp_path: Path) -> None:
    files(tmp_path, "bug.yaml", "bug.py", "templates/x/role.yaml")
    assert {path.name for path in inputs.of_topology(str(tmp_path / "bug.yaml"))} == {"bug.yaml", "templates"}


def test_a_folder_that_is_named_comes_whole_unless_it_is_the_readers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inputs.of_scenarios([str(tmp_path)]) == [tmp_path]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in (tmp_path, tmp_path / "home"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(TopologyError, match="holds your own files"):
            inputs.of_scenarios([str(folder)])


def test_what_is_shipped_needs_nothing() -> None:
    assert inputs.of_scenarios(["rp-filter"]) == inputs.of_topology("two-hosts") == []


@pytest.mark.parametrize("name", ["bug.py", "bug.yaml", "conftest.py", "templates"])
def test_a_link_is_not_followed_wherever_it_lies(name: str, tmp_path: Path) -> None:
    files(tmp_path, *({"bug.py"} - {name}))
    (tmp_path / name).symlink_to("/etc")
    with pytest.raises(TopologyError, match="is a symbolic link"):
        inputs.of_scenarios([str(tmp_path / "bug.py")])


def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bug.yaml")
    with pytest.raises(TopologyError, match="neither a file nor a folder"):
        inputs.of_topology(str(tmp_path / "bug.yaml"))


# The tree.


def test_the_tree_holds_the_system_the_package_python_and_the_input(made: Tree, tmp_path: Path) -> None:
    shared = {place.removeprefix(share.SHARE) for _, place in made.binds if place.startswith(f"{share.SHARE}/")}
    package = str(Path(share.__file__).parents[1])
    assert {"/usr", package, str(tmp_path / "bug.yaml"), share.MODULES, share.TRIAL} <= shared
    assert share.way(Path(sys.executable))[1].is_relative_to("/usr") or any(
        share.way(Path(sys.executable))[1].is_relative_to(path) for path in shared
    )


def test_the_tree_holds_nothing_else(made: Tree, tmp_path: Path) -> None:
    """Each of its places is one that somebody can name a reason for; a repository's own history has none."""
    reasons = ("/usr", "/etc/", "/.lab/", "/bin", "/sbin", "/lib", *share.search_path(sys.path), sys.prefix, sys.base_prefix)
    named = [
        str(tmp_path / "bug.yaml"),
        *(str(Path(share.__file__).parents[2] / name) for name in ("lab", "topologies", "templates")),
    ]
    for _, place in made.binds:
        path = place.removeprefix(share.SHARE)
        assert path.startswith(reasons) or path in (*named, share.IMAGE, share.INITRD), path
        assert path not in (
            "/",
            "/etc",
            "/root",
            "/home",
            "/var",
            "/run",
            "/tmp",
            str(Path.home()),
            sys.prefix,
            sys.base_prefix,
        )
        assert not path.endswith(".git")


def test_only_what_lies_outermost_is_bound(made: Tree) -> None:
    places = [place for _, place in made.binds if place.startswith(f"{share.SHARE}/")]
    assert not [(one, other) for one in places for other in places if other.startswith(f"{one}/")]


def test_links_on_the_way_are_made_anew_and_loops_are_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "round").symlink_to("round")
    assert share.way(tmp_path / "link" / "file") == ({str(tmp_path / "link"): "real"}, tmp_path / "real" / "file")
    assert share.way(tmp_path / "link" / ".." / "real") == ({str(tmp_path / "link"): "real"}, tmp_path / "real")
    with pytest.raises(HostError, match="too many links"):
        share.way(tmp_path / "round")


def test_a_folder_that_is_a_link_on_this_host_is_one_in_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /home is where it is /var/home."""
    monkeypatch.setattr(allowed, "FOLDERS", {"/etc": 0o755, str(tmp_path / "home"): 0o755, str(tmp_path / "home/x"): 0o755})
    files(tmp_path, "var/home/bug.yaml", "vmlinux", "initrd", "trial/here")
    (tmp_path / "home").symlink_to("var/home")
    elf, initrd, place = (tmp_path / name for name in ("vmlinux", "initrd", "trial"))
    (tmp_path / "var/home/bug.yaml").chmod(0o644)
    tree = share.tree([tmp_path / "home/bug.yaml"], elf, initrd, None, place, [])
    assert (f"{share.SHARE}{tmp_path}/home", "var/home") in tree.links
    assert (f"{tmp_path}/var/home/bug.yaml", f"{share.SHARE}{tmp_path}/var/home/bug.yaml") in tree.binds
    assert [path for path, _ in tree.folders if path.startswith(share.SHARE)] == [f"{share.SHARE}/etc"]


def test_qemu_shares_the_folder_of_the_tree(made: Tree) -> None:
    guest = Guest("6.1", Substrate.TCG, Path(share.IMAGE), Path(share.INITRD), ("/p", "/a"), root=Path(share.SHARE), tree=made)
    assert "local,id=root,path=/share,security_model=none,readonly=on,multidevs=remap" in qemu.argv(guest, 5, 6)
    assert guest.words.endswith(", untrusted")


# The trial.


def test_a_guest_holds_that_tried_everything_in_vain() -> None:
    assert trial.verdict(HELD, TOKEN, []) == ""


@pytest.mark.parametrize(
    ("answer", "changed", "why"),
    [
        (HELD, ["shared/mark"], "has written on the host: shared/mark"),
        ({**HELD, "escapes": ["hostfs: read"]}, [], "got out: hostfs: read"),
        ({**HELD, "here": "x"}, [], "was not seen"),
        ({**HELD, "tried": {}}, [], "were not tried: as it is, disks, hostfs"),
        ({}, [], "was not seen"),
    ],
)
def test_a_guest_does_not_hold_that_got_out_or_did_not_try(answer: dict[str, object], changed: list[str], why: str) -> None:
    assert why in trial.verdict(answer, TOKEN, changed)


def test_what_a_guest_has_changed_is_seen() -> None:
    with trial.Trial(None) as made:
        assert made.changed() == []
        (made.place / "mark").touch()
        made.secret.write_text("x")
        assert made.changed() == ["secret", "shared/mark"]
        home = made.place.parent
    assert not home.exists()


# Results.


def test_of_a_strangers_results_a_report_is_taken_and_no_more_than_it_can_be_large(tmp_path: Path) -> None:
    stranger, own = _Results([tmp_path / "a"], True), _Results([tmp_path / "b"], False)
    for name in ("index.html", ".profile", "sub/index.html"):
        for results in (stranger, own):
            results.take(file_frame(1, {"result": 0, "path": name, "at": 0}, b"x"))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["index.html"]
    assert len([*(tmp_path / "b").rglob("*")]) == 4
    with pytest.raises(TamperedError, match="more than 256 MiB"):
        stranger.take(file_frame(1, {"result": 0, "path": "index.html", "at": allowed.LARGEST + 1}, b"x"))


@pytest.mark.parametrize(
    "about", [{}, {"result": 7, "path": "", "at": 0}, {"result": "x", "path": "", "at": 0}, {"result": None}]
)
def test_a_file_that_is_none_is_found_out(about: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(TamperedError, match="no file"):
        _Results([tmp_path], True).take(file_frame(1, about, b""))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Kind.EXIT, 1, b"{}"),
        Frame(Kind.EXIT, 1, b'{"status": "x", "oom": 0}'),
        Frame(Kind.EXIT, 1, b"["),
        Frame(Kind.FAILED, 1, b"{}"),
        Frame(Kind.CREDIT, 1, b"x"),
        Frame(Kind.FILE, 1, b"x"),
        Frame(Kind.STDOUT, 1, bytes(5 * WINDOW)),
    ],
    ids=lambda frame: f"{frame.kind.name} of {len(frame.payload)}",
)
def test_an_agent_that_was_tampered_with_is_found_out(frame: Frame) -> None:
    job, (ours, theirs) = Job(["run"], untrusted=True), socket.socketpair()
    with ours, theirs, pytest.raises(TamperedError):
        _heeded(frame, _Streams(Session(ours, None, 1), job))


# What is read here.


def test_a_strangers_topology_is_not_read_on_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lab has the name that the words of the call give it, or the file."""
    monkeypatch.setattr(recipe, "read", lambda *_: pytest.fail("it was read"))
    up, path = Settings(argv=("up", "x")), str(tmp_path / "bug.yaml")
    assert guests._named(up, {"topology": path, "name": None}) == ("bug", {}, path, ("up", "x", "--name", "bug"))
    assert guests._named(up, {"topology": path, "name": "n"}) == ("n", {}, path, ("up", "x"))
    with pytest.raises(pytest.fail.Exception, match="it was read"):
        guests._read(up, {"topology": path, "name": None, "params": {}})


# What is printed.


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"\x1b[32mgr\xc3\xbcn\x1b[0m\t\x1b[2K\r\n", "\x1b[32mgrün\x1b[0m\t\x1b[2K\r\n"),
        (b"\x1b[?25l\x1b[1A", "\x1b[?25l\x1b[1A"),
        (b"\x1b]0;title\x07a", "0;titlea"),
        (b"\x1b]52;c;eA==\x1b\\a", "52;c;eA==a"),
        (b"\x1bP$q\x1b\\\x1b[6n\x1b[c\x1b[21t\x1b[?1049h\x1b[?1h", "$q"),
        (b"\xc2\x9b31m\x9b\x07\x00\x1bc", "31m\ufffd"),
        (b"\x1b[" + b"1;" * 100 + b"n.", "."),
    ],
    ids=["colours", "cursor", "title", "clipboard", "questions", "other controls", "long"],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_terminal_is_given_what_shows_and_nothing_else(said: bytes, shown: str, step: int) -> None:
    harmless = Harmless()
    got = b"".join(harmless.feed(said[at : at + step]) for at in range(0, len(said), step)).decode()
    assert got == shown or (len(said) > 100 and "\x1b" not in got)


def test_a_line_of_a_guests_kernel_is_quoted_without_controls() -> None:
    assert line("a\x1b]0;x\x07\tb") == "a\ufffd]0;x\ufffd\tb"
