"""What makes the VIPA the source address of whom, for source_vipa.py: the ways, the programs that try them, what they find."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from lab import Lab, Node
from lab.observe.echo import Asked, Echo
from lab.observe.reading import RECORD
from lab.substrate import preferred

FAMILIES = ("IPv4", "IPv6")
VIPA = {"IPv4": "10.0.0.1", "IPv6": "2001:db8::1"}
SERVER = {"IPv4": "10.9.0.9", "IPv6": "2001:db8:9::9"}
CARD = {"IPv4": "10.1.1.1", "IPv6": "2001:db8:1:1::1"}
ROUTER = {"IPv4": "10.1.1.254", "IPv6": "2001:db8:1:1::fe"}
ATTACHED = {"IPv4": "10.1.1.200", "IPv6": "2001:db8:1:1::200"}
PREFIX = {"IPv4": "10.9.0.0/24", "IPv6": "2001:db8:9::/64"}
VXLAN_PORT, NFS_PORT = 4789, 2049
EXPORTED, MOUNTED = "/run/exported", "/run/mounted"
ESTABLISHED = "01"  # include/net/tcp_states.h

WHAT = ("TCP", "connected UDP", "UDP sendto", "static binary", "kernel's VXLAN", "attached subnet")
COVERED = {
    # Whether the VIPA is the source, by the way that shall make it so.
    "OSPF alone": (False, False, False, False, False, False),
    "LD_PRELOAD shim": (True, True, False, False, False, True),
    "ip route … src": (True, True, True, True, True, False),
    "cgroup BPF": (True, True, True, True, False, True),
}

SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Binds every socket that connects, and is bound to nothing, to the address that the environment has for its family. */
int connect(int fd, const struct sockaddr *to, socklen_t length) {
    int (*really)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in6 own = {0};
    struct sockaddr_in *own4 = (struct sockaddr_in *)&own;
    socklen_t size = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &size);
    if (to->sa_family == AF_INET && own4->sin_port == 0) {
        inet_pton(AF_INET, getenv("VIPA4"), &own4->sin_addr);
        bind(fd, (struct sockaddr *)own4, sizeof *own4);
    } else if (to->sa_family == AF_INET6 && own.sin6_port == 0) {
        inet_pton(AF_INET6, getenv("VIPA6"), &own.sin6_addr);
        bind(fd, (struct sockaddr *)&own, sizeof own);
    }
    return really(fd, to, length);
}
"""
STATIC = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Connects to port 7 of an address and prints the source. */
int main(int argc, char **argv) {
    int version6 = argc > 1 && strchr(argv[1], ':') != 0;
    struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
    struct sockaddr *to = version6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4;
    socklen_t size = version6 ? sizeof to6 : sizeof to4;
    char text[INET6_ADDRSTRLEN];
    int fd = socket(to->sa_family, SOCK_STREAM, 0);
    inet_pton(to->sa_family, argv[1], version6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr);
    if (connect(fd, to, size) || getsockname(fd, to, &size)) return 1;
    puts(inet_ntop(to->sa_family, version6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr, text, sizeof text));
    return 0;
}
"""
PROBE = """
import json, socket, sys
server, router, mark = sys.argv[1:]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
def connected(to, kind):
    with socket.socket(family, kind) as sock:
        sock.settimeout(5)
        sock.connect((to, 7))
        return sock.getsockname()[0]
found = {"TCP": connected(server, socket.SOCK_STREAM), "connected UDP": connected(server, socket.SOCK_DGRAM)}
found["attached subnet"] = connected(router, socket.SOCK_STREAM)
socket.socket(family, socket.SOCK_DGRAM).sendto(mark.encode(), (server, 7))
print(json.dumps(found))
"""


def build(folder: Path, name: str, text: str, *options: str) -> None:
    (folder / f"{name}.c").write_text(text)
    subprocess.run(["cc", "-O", *options, "-o", folder / name, folder / f"{name}.c"], check=True, timeout=60)


def build_shim(folder: Path) -> None:
    build(folder, "shim.so", SHIM, "-shared", "-fPIC")


@contextlib.contextmanager
def used(lab: Lab, how: str, built: Path, families: Iterable[str] = FAMILIES) -> Iterator[dict[str, str]]:
    """The way is in use in the block; what programs need in their environment."""
    client = lab["client"]
    if how == "LD_PRELOAD shim":
        yield {"LD_PRELOAD": str(built / "shim.so"), "VIPA4": VIPA["IPv4"], "VIPA6": VIPA["IPv6"]}
    elif how == "cgroup BPF":
        with client.socket() as sock:
            cookie = preferred.netns_cookie(sock)
        with preferred.sources(cookie, VIPA["IPv4"], VIPA["IPv6"]):
            yield {}
    elif how == "ip route … src":
        for family in families:
            route = [PREFIX[family], "via", ROUTER[family], "src", VIPA[family], "metric", "5"]
            client.run(["ip", "route", "add", *route])
        yield {}
        for family in families:
            client.run(["ip", "route", "delete", PREFIX[family], "metric", "5"])
    else:
        yield {}


def covered(lab: Lab, how: str, built: Path, echo: Echo, tunnel: Echo) -> tuple[bool, ...]:
    """Of what it is the source; that must be the same of both families."""
    with used(lab, how, built) as env:
        rows = {
            family: tuple(
                each == VIPA[family] for each in tried(lab["client"], family, f"{how} {family}", built, env, echo, tunnel)
            )
            for family in FAMILIES
        }
    assert rows["IPv4"] == rows["IPv6"], (how, rows)
    return rows["IPv4"]


def tried(client: Node, family: str, mark: str, built: Path, env: dict[str, str], echo: Echo, tunnel: Echo) -> tuple[str, ...]:
    """The source addresses of WHAT."""
    server = SERVER[family]
    said = json.loads(client.run(["python3", "-c", PROBE, server, ROUTER[family], mark], env={**os.environ, **env}).stdout)
    said["UDP sendto"] = echo.wait(lambda asked: asked.data == mark.encode()).source
    said["static binary"] = client.run([str(built / "static"), server], env={**os.environ, **env}).stdout.strip()
    device = {"IPv4": "vx4", "IPv6": "vx6"}[family]
    client.send(device, bytes(Ether(dst="02:00:00:00:00:01") / IP(dst="192.0.2.1") / UDP() / mark.encode()))
    said["kernel's VXLAN"] = tunnel.wait(lambda asked: carries(asked, mark)).source
    return tuple(said[what] for what in WHAT)


def carries(asked: Asked, mark: str) -> bool:
    return mark.encode() in asked.data


# -- a file mounted over NFS


def publish(lab: Lab) -> None:
    """Some records to read on the server."""
    lab["server"].run(["sh", "-c", f"seq -f {RECORD} 0 63 > {EXPORTED}/records"])


@contextlib.contextmanager
def mounted(lab: Lab, options: str = "", env: Mapping[str, str] | None = None) -> Iterator[str]:
    """What the server exports is in place in the block; the address that the client comes from. It comes from a port below 1024
    unless `options` say otherwise (nfs(5), resvport)."""
    client, server = lab["client"], SERVER["IPv4"]
    options = f"sec=sys,vers=4.2,addr={server},X-mount.mkdir{options}"
    client.run(["mount", "-i", "-t", "nfs4", "-o", options, f"{server}:/", MOUNTED], env=env)
    try:
        (address,) = askers(lab)
        yield address
    finally:
        client.run(["umount", "--force", MOUNTED])  # also where the server is out of reach
    lab["server"].wait(lambda: not askers(lab), 30, "the client's connection is closed")


def askers(lab: Lab) -> set[str]:
    """The addresses from which there are connections to the NFS server (proc(5), /proc/net/tcp)."""
    lines = lab["server"].inside(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
    sockets = (line.split()[1:4] for line in lines)
    own = f":{NFS_PORT:04X}"
    return {_address(remote) for local, remote, state in sockets if state == ESTABLISHED and local.endswith(own)}


def _address(word: str) -> str:
    return socket.inet_ntoa(struct.pack("=I", int(word.partition(":")[0], 16)))
