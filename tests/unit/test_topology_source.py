"""Where a topology's text comes from: files, shipped names, and everything that only looks like one of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.topology import shipped, source
from lab.topology.shipped import shipped_topologies
from lab.topology.source import LARGEST, read_source


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def two_shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    for name in ("rp-filter", "anycast"):
        (folder / f"{name}.yaml").write_text(f"name: {name}\n")
    monkeypatch.setattr(shipped, "_folder", lambda: folder)
    return folder


def refusal(name: str | Path) -> str:
    with pytest.raises(TopologyError) as caught:
        read_source(name)
    return str(caught.value)


def test_a_file_is_read_with_its_name_as_given_and_its_folder_absolute(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    found = read_source("mine.yaml")
    assert (found.name, found.text, found.folder) == ("mine.yaml", "name: mine\n", tmp_path)


def test_a_file_without_a_suffix_is_found_by_its_bare_name(tmp_path: Path) -> None:
    (tmp_path / "rp-filter").write_text("name: mine\n")
    assert read_source("rp-filter").text == "name: mine\n"


def test_a_shipped_name_is_found_from_any_folder(two_shipped: Path) -> None:
    found = read_source("rp-filter")
    assert (found.text, found.folder) == ("name: rp-filter\n", two_shipped)


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_topology(two_shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "anycast").mkdir()
    assert read_source("anycast").folder == two_shipped


def test_shipped_topologies_are_listed_by_name(two_shipped: Path) -> None:
    assert list(shipped_topologies().items()) == [
        ("anycast", two_shipped / "anycast.yaml"),
        ("rp-filter", two_shipped / "rp-filter.yaml"),
    ]


def test_a_checkout_finds_the_topologies_beside_the_package() -> None:
    package = Path(source.__file__).parents[1]
    assert shipped._folder() in (package / "topologies", package.parent / "topologies")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(two_shipped: Path) -> None:
    assert refusal("rp_filter") == (
        "there is no topology 'rp_filter'\n"
        "    did you mean 'rp-filter'?; shipped are: anycast, rp-filter; a file is named by its path, such as ./lab.yaml"
    )


@pytest.mark.parametrize("name", ["", "..", "a\0b", "x" * 5000, "../rp-filter.yaml\0", "-", "a b"])
def test_what_can_be_no_shipped_name_never_leaves_the_shipped_folder(two_shipped: Path, name: str) -> None:
    assert refusal(name)


def test_a_path_never_means_a_shipped_topology(two_shipped: Path) -> None:
    assert refusal("./rp-filter") == "rp-filter: there is no such file"


def test_a_missing_file_is_answered_with_the_nearest_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "office.yaml").write_text("")
    assert refusal("ofice.yaml") == "ofice.yaml: there is no such file\n    did you mean 'office.yaml'?"
    assert refusal("no/x.yaml") == "no/x.yaml: there is no such file\n    nor is there a directory no"


def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    assert refusal("pipe.yaml").startswith("pipe.yaml: is not a regular file")
    assert refusal("link.yaml").startswith("link.yaml: is not a regular file")
    assert refusal("/dev/zero").startswith("/dev/zero: is not a regular file")
    assert refusal("folder.yaml") == ("folder.yaml: is a directory\n    name the file in it, such as folder.yaml/lab.yaml")


def test_links_that_lead_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert refusal("a.yaml") == "a.yaml: cannot be read: Too many levels of symbolic links"


def test_the_size_limit_counts_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * LARGEST)
    assert len(read_source("a.yaml").text) == LARGEST
    (tmp_path / "a.yaml").write_bytes(b"#" * (LARGEST + 1))
    assert refusal("a.yaml") == "a.yaml: is larger than 8 MiB; a topology is a text of a few kilobytes"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff\n", "a.yaml:2:4: the byte 0xff is not UTF-8\n    save it as UTF-8"),
        (b"a: \xe2\x82", "a.yaml:1:4: the byte 0xe2 is not UTF-8\n    save it as UTF-8"),
        (b"a\r\nb\rc: \0", "a.yaml:3:4: a NUL byte: this is not a text file"),
        (b"\xff\xfea\0", "a.yaml: is UTF-16 text\n    save it as UTF-8"),
        (
            "é: \U000f0000".encode(),
            "a.yaml:1:4: the private-use character U+F0000 is reserved by lab\n"
            "    write it as an escape in a quoted YAML string",
        ),
    ],
)
def test_a_refused_byte_is_named_with_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    assert refusal("a.yaml") == message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_source("a.yaml").text == "a: 1\n"
