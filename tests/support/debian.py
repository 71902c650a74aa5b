"""A fresh Debian in a folder, and commands in it: as a machine of its own would run them, but for the kernel and the network.

Each command gets a mount and a PID namespace, in which the folder is the root, with /proc, /sys, /dev and an empty /run: what
is mounted for it and what it leaves running is gone with it. Packages come from where this host has its own: apt's
mirror with apt's proxies, what pip is configured to, and the certificates that were added here.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.commands import REPOSITORY, Said, host

SUITE = "bookworm"
SECONDS = 1200.0  # to install packages on a busy host
_SUITES = {SUITE: "debian", f"{SUITE}-updates": "debian", f"{SUITE}-security": "debian-security"}
_OF_APT = re.compile(r"Acquire::(.*::)?(Proxy|Check-Valid-Until|Check-Date|Languages)(::\S*)? \"")
_CERTIFICATES = Path("usr/local/share/ca-certificates")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30  # bytes: one with everything that the experiments call takes one
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
# The root, folders of the host's to be seen in it, one a line, and the command with its environment.
_ENTER = """
root=$1 shown=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
for device in null zero full random urandom tty kmsg net/tun; do
    if [ -e "/dev/$device" ]; then
        : > "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    fi
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
echo "$shown" | while read -r folder; do
    [ -d "$folder" ] || continue
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
exec chroot "$root" /usr/bin/env -i "$@"
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """`shown` are folders of the host that are seen in it, read-only: indexes and wheels that pip is told to use."""

    root: Path
    shown: tuple[str, ...] = ()

    def run(self, *words: str | Path, env: Mapping[str, str] | None = None, timeout: float = SECONDS) -> Said:
        """A command of root's, to its end, with a plain environment; what it started ends with it."""
        proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        everything = {"HOME": "/root", "PATH": _PATH, "LC_ALL": "C.UTF-8", **proxies, **(env or {})}
        pairs = [f"{name}={value}" for name, value in everything.items()]
        enter = [*_ALONE, "sh", "-euc", _ENTER, "sh", str(self.root), "\n".join(self.shown)]
        return _said([*enter, *pairs, *map(str, words)], timeout)

    def well(self, *words: str | Path, env: Mapping[str, str] | None = None) -> Said:
        """The same where nothing but 0 will do."""
        said = self.run(*words, env=env)
        assert said.status == 0, said.stdout[-4000:] + said.stderr[-4000:]
        return said

    def bring(self, place: str, without: list[str]) -> None:
        """Copies this repository into it, but for what rsync is told to leave out."""
        target = self.root / place.lstrip("/")
        target.mkdir(parents=True)
        host("rsync", "--archive", *(f"--exclude={each}" for each in without), f"{REPOSITORY}/", f"{target}/")


def place() -> Path:
    """Where to make one: in memory where there is plenty, for on a disk it takes half as long again."""
    there, has = os.statvfs(_MEMORY), re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    room = min(there.f_bavail * there.f_frsize, int(has[1]) << 10 if has else 0)
    return _MEMORY if room > _ROOM and not there.f_flag & os.ST_NOEXEC else Path(tempfile.gettempdir())


def made(root: Path) -> Debian:
    """The smallest Debian that has apt, in a folder that is not there yet."""
    sources = root.with_name(f"{root.name}.list")
    sources.write_text("".join(f"{line}\n" for line in _sources()))
    options = ["--mode=root", "--variant=minbase", "--format=directory", "--quiet", "--skip=output/dev,cleanup/apt"]
    apt = [f"--aptopt={line}" for line in _apts_configuration()]
    argv = [*_ALONE, "mmdebstrap", *options, "--dpkgopt=force-unsafe-io", *apt, SUITE, str(root), str(sources)]
    said = _said(argv, SECONDS)
    assert said.status == 0, said.stderr[-4000:]
    return Debian(root, tuple(_configured(root)))


def _said(argv: list[str], timeout: float) -> Said:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
    return Said(done.returncode, done.stdout, done.stderr)


# -- where packages come from


def _sources() -> list[str]:
    """Lines of a sources.list: what apt reads here of this suite, else Debian's own mirror."""
    words = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages")
    targets = (line.split() for line in host(*words).splitlines())
    found = [f"deb {uri} {suite} {part}" for uri, suite, part, *origin in targets if origin == ["Debian"] and suite in _SUITES]
    return found or [f"deb http://deb.debian.org/{folder} {suite} main" for suite, folder in _SUITES.items()]


def _apts_configuration() -> list[str]:
    return [line for line in host("apt-config", "dump").splitlines() if _OF_APT.match(line)]


def _configured(root: Path) -> Iterator[str]:
    """Gives it the certificates and pip's configuration of this host; the folders that are named in that."""
    certificates = Path("/", _CERTIFICATES)
    if certificates.is_dir():
        shutil.copytree(certificates, root / _CERTIFICATES, dirs_exist_ok=True)
    sections = _pips_configuration()
    sections.setdefault("install", {})["no-compile"] = "true"  # most of what it would write is never loaded here
    for section, keys in sections.items():
        with (root / "etc/pip.conf").open("a") as file:
            file.write("".join([f"[{section}]\n", *(f"{key} = {value}\n" for key, value in keys.items())]))
    words = [word.removeprefix("file://") for keys in sections.values() for value in keys.values() for word in value.split()]
    yield from sorted({_folder(word) for word in words if word.startswith("/") and Path(word).is_dir()})


def _folder(path: str) -> str:
    """An index lies in a folder `simple` and refers to files beside it."""
    return str(Path(path).parent if Path(path).name == "simple" else path)


def _pips_configuration() -> dict[str, dict[str, str]]:
    """By section; what the environment says (`:env:`) counts for every command."""
    found: dict[str, dict[str, str]] = {}
    for line in host(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        found.setdefault("global" if section == ":env:" else section, {})[key] = " ".join(str(ast.literal_eval(value)).split())
    return found
