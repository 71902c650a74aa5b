"""What users call a kernel, Debian's order of versions, and which of the packages of its suites bring one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.kernels import names, packages, sources, versions
from lab.kernels.names import Wish

BOOKWORM = """\
Package: linux-image-6.1.0-56-amd64
Source: linux-signed-amd64 (6.1.192+2)
Version: 6.1.192-2
Installed-Size: 400652
Architecture: amd64
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool
Description: Linux 6.1 for 64-bit PCs (signed)
 Package: this line is of the description
Size: 70550672

Package: linux-image-6.1.0-55-amd64
Version: 6.1.99-1
Installed-Size: 400000
Depends: kmod
Size: 70000000

Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-2
Installed-Size: 105548
Depends: kmod, linux-base (>= 4.3~)
Size: 26713492

Package: linux-image-6.1.0-56-amd64-unsigned
Version: 6.1.192-2
Size: 70560688

Package: linux-image-6.1.0-56-rt-amd64
Version: 6.1.192-2
Size: 70533964

Package: linux-image-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)
Size: 1480

Package: user-mode-linux
Version: 6.1um4+b13
Installed-Size: 116111
Depends: libc6 (>= 2.34)
Size: 41388548

Package: busybox-static
Version: 1:1.35.0-4+deb12u1+b1
Size: 928188

Package: zsh
Version: 5.9-4
Size: 1
"""
BACKPORTS = """\
Package: linux-base-7.2.12+deb13-amd64
Version: 7.2.12-1~bpo13+1
Size: 1090008

Package: linux-binary-unsigned-7.2.12+deb13-amd64
Version: 7.2.12-1~bpo13+1
Depends: linux-base-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1)
Size: 13967532

Package: linux-modules-7.2.12+deb13-amd64
Version: 7.2.12-1~bpo13+1
Depends: kmod, linux-base-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1)
Size: 159105900

Package: linux-binary-7.2.12+deb13-amd64
Version: 7.2.12-1~bpo13+1
Depends: linux-base-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1)
Size: 13968908

Package: linux-image-7.2.12+deb13-amd64
Version: 7.2.12-1~bpo13+1
Depends: dracut | initramfs-tools, linux-base-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1), \
linux-binary-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1), linux-modules-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1)
Pre-Depends: linux-base (>= 4.17~)
Size: 1900

Package: linux-image-7.3-amd64
Version: 7.3~rc7-1~exp1
Size: 90000000
"""


def images() -> list[packages.Image]:
    bookworm = packages.images(packages.read(BOOKWORM.splitlines()), "bookworm")
    return [*bookworm, *packages.images(packages.read(BACKPORTS.splitlines()), "trixie-backports")]


def chosen(name: str) -> str | None:
    image = packages.newest(images(), names.read(name))
    return image.name if image else None


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("6.12", Wish("6.12", "amd64", series="6.12")),
        ("latest", Wish("latest", "amd64")),
        ("cloud", Wish("cloud", "cloud")),
        ("cloud-6.12", Wish("cloud-6.12", "cloud", series="6.12")),
        ("uml", Wish("uml", "uml")),
        ("uml-6.1", Wish("uml-6.1", "uml", series="6.1")),
        ("uml-latest", Wish("uml-latest", "uml")),
        ("6.1.0-41-amd64", Wish("6.1.0-41-amd64", "amd64", release="6.1.0-41-amd64")),
        ("6.12.57+deb13-cloud-amd64", Wish("6.12.57+deb13-cloud-amd64", "cloud", release="6.12.57+deb13-cloud-amd64")),
        ("6.18.0-dirty", Wish("6.18.0-dirty", "file", release="6.18.0-dirty")),
        ("uml-6.1.137", Wish("uml-6.1.137", "uml", release="6.1.137")),
        ("./bzImage", Wish("./bzImage", "file", path=Path("bzImage"))),
        ("~/linux", Wish("~/linux", "file", path=Path("~/linux").expanduser())),
    ],
)
def test_a_name_is_read(name: str, wish: Wish) -> None:
    assert names.read(name) == wish


@pytest.mark.parametrize("name", ["", "6", "six", "uml6.1", "cloud-", "-6.1", "6.1 ", "6.1.0-41-amd64;", "host", "6.1\n"])
def test_what_no_kernel_is_called_is_a_wrong_call_and_says_what_to_write(name: str) -> None:
    with pytest.raises(TopologyError, match="no kernel can be called") as refused:
        names.read(name)
    assert "a series such as 6.12" in str(refused.value)


def test_versions_are_ordered_as_debian_orders_them() -> None:
    ordered = ["1.0~rc1-1", "1.0~rc2-1", "1.0-1", "1.0-1+b1", "1.0+dfsg-1", "1.0.1-1", "1.2-1", "1.10-1", "1:0.1-1"]
    assert sorted((ordered[at] for at in (4, 0, 8, 3, 1, 7, 2, 6, 5)), key=versions.key) == ordered
    assert versions.key("6.1.192-2") > versions.key("6.1.99-10")
    assert versions.key("7.2.12-1~bpo13+1") < versions.key("7.2.12-1")


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("6.1", "6.1.0-56-amd64"),
        ("6.1.0-55-amd64", "6.1.0-55-amd64"),
        ("cloud", "6.1.0-56-cloud-amd64"),
        ("cloud-6.1", "6.1.0-56-cloud-amd64"),
        ("7.2", "7.2.12+deb13-amd64"),
        ("uml", "uml-6.1"),
        ("uml-6.12", None),
        ("5.10", None),
        ("6.1.0-56-rt-amd64", None),
    ],
)
def test_a_name_means_the_newest_that_it_fits(name: str, release: str | None) -> None:
    assert chosen(name) == release


def test_latest_is_no_release_candidate_and_its_series_names_one() -> None:
    assert chosen("latest") == "7.2.12+deb13-amd64"
    assert chosen("7.3") == "7.3-amd64"


def test_a_kernel_in_several_packages_is_brought_by_all_of_them() -> None:
    (image,) = [each for each in images() if each.series == "7.2"]
    assert [package.name.split("-7")[0] for package in image.packages] == [
        "linux-image",
        "linux-base",
        "linux-binary",
        "linux-modules",
    ]
    assert image.size == 1900 + 1090008 + 13968908 + 159105900


def test_one_whose_other_packages_are_not_there_is_not_offered() -> None:
    text = BACKPORTS.replace("Package: linux-modules-", "Package: other-")
    assert not [each for each in packages.images(packages.read(text.splitlines()), "x") if each.series == "7.2"]


def test_of_user_mode_linux_the_package_says_which_glibc_it_needs() -> None:
    (image,) = [each for each in images() if each.flavour == "uml"]
    assert (image.release, image.glibc) == ("6.1", "2.34")
    assert sources.offered("uml", "2.38", "2.36") == "it needs glibc 2.38, and this host has 2.36"
    assert sources.offered("uml", "2.34", "2.36") == ""
    assert sources.offered("amd64", "2.38", "2.36") == ""


def test_a_list_is_kept_as_far_as_it_is_of_use() -> None:
    kept = [package.name for package in packages.read(BOOKWORM.splitlines())]
    assert "zsh" not in kept
    assert "busybox-static" in kept
    assert not [name for name in kept if "rt" in name or "unsigned" in name]


# -- sources


def test_the_hosts_own_mirror_is_used() -> None:
    lines = [
        "https://packages.example.org/apt nodistro  ",
        "http://ftp.example.org/debian/ bookworm Debian Debian",
        "http://ftp.example.org/debian-security/ bookworm-security Debian Debian-Security",
    ]
    mirrors = sources.mirrors(lines)
    assert mirrors == sources.Mirrors("http://ftp.example.org/debian", "http://ftp.example.org/debian-security")


def test_a_host_that_is_not_debians_uses_debians_own() -> None:
    lines = [
        "http://archive.ubuntu.com/ubuntu/ noble Ubuntu Ubuntu",
        "http://archive.ubuntu.com/ubuntu/ noble-security Ubuntu Ubuntu",
    ]
    assert sources.mirrors(lines) == sources.Mirrors() == sources.mirrors([])


def test_a_mirror_is_known_by_its_path_before_lists_came() -> None:
    assert sources.mirrors(["http://m.example.org/debian trixie  "]).archive == "http://m.example.org/debian"


def test_one_who_wants_a_stable_series_asks_its_own_suites() -> None:
    def asked(name: str) -> list[str]:
        return [suite.name for suite in sources.suites_for(names.read(name))]

    assert asked("6.1") == ["bookworm", "bookworm-security"]
    assert asked("cloud-6.12") == ["trixie", "trixie-security"]
    assert asked("6.1.0-41-amd64") == ["bookworm", "bookworm-security"]
    assert asked("5.10") == ["bullseye-security"]
    assert "experimental" not in asked("latest")
    assert asked("uml-6.12") == ["trixie", "trixie-security"]
    assert len(asked("7.3")) == len(asked("uml")) == len(sources.SUITES)


def test_only_debians_keys_are_believed() -> None:
    (suite,) = [suite for suite in sources.SUITES if suite.name == "bookworm-security"]
    line = sources.sources_list(suite, sources.Mirrors())
    assert line.startswith("deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ")
    assert line.endswith(" http://deb.debian.org/debian-security bookworm-security main\n")
    assert "trusted" not in line


def test_an_apt_of_our_own_takes_nothing_of_the_hosts_but_its_proxy() -> None:
    hosts = [
        'Acquire::http::Proxy "http://proxy:3128";',
        'APT::Update::Post-Invoke:: "rm -rf /";',
        'Dir::Etc::parts "apt.conf.d";',
    ]
    text = sources.configuration(Path("/cache/x"), hosts)
    assert 'Acquire::http::Proxy "http://proxy:3128";' in text
    assert "Post-Invoke" not in text
    assert "apt.conf.d" not in text
    assert 'Dir::State::lists "/cache/x/lists";' in text
