"""The kernel's NFS server in this network namespace, and who tells it what is exported: nfsd.py DIRECTORY ro|rw THREADS PORT

The kernel asks whoever has its channels open, one line a question (net/sunrpc/cache.c): which domain a client is of, where a
file system lies, and what is exported there (fs/nfsd/export.c). An answer is the question, a time and what was asked for. Here
every client is of one domain, and one directory is exported. The kernel's threads end when the file system by which they are
governed is unmounted: with the node's mount namespace at the latest (fs/nfsd/nfsctl.c, nfsd_umount).

It also asks which clients an earlier server knew (fs/nfsd/nfs4recover.c, nfsd4_cld_tracking_init). There are none, so that it
makes nobody wait for their return; without an answer everybody would wait for 90 s.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

CONTROL, PIPES = Path("control"), Path("pipes")  # in the service's folder
CHANNELS = Path("/proc/net/rpc")
FOREVER = 0x7FFFFFFF  # seconds since 1970
DOMAIN = "everybody"
# include/uapi/linux/nfsd/export.h
READ_ONLY, ANY_PORT, NO_SUBTREE_CHECK, IS_NUMBERED = 0x1, 0x2, 0x400, 0x2000
ROOT = r"1 \x00000000"
"""The file system of number 0, which clients of NFSv4 see as the root: its type of handle (FSID_NUM), and the number."""
# include/uapi/linux/nfsd/cld.h, struct cld_msg: cm_vers, cm_cmd, cm_status, cm_xid, and what the command is about
ABOUT_CLIENTS = struct.Struct("=BBhI")
GET_VERSION, VERSION = 5, 1
LOOK_AGAIN = 0.005


def main() -> None:
    directory, mode, threads, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Path(directory).mkdir(parents=True, exist_ok=True)
    for place, kind in ((PIPES, "rpc_pipefs"), (CONTROL, "nfsd")):
        place.mkdir(exist_ok=True)
        if not place.is_mount():  # by one that was killed
            subprocess.run(["mount", "-t", kind, kind, place], check=True)
    try:
        serve(directory, mode == "rw", threads, int(port))
    finally:
        tell("threads", "0")
        subprocess.run(["umount", "--lazy", CONTROL, PIPES], check=True)


def serve(directory: str, writable: bool, threads: str, port: int) -> None:
    channels = {
        name: (CHANNELS / name / "channel").open("r+b", buffering=0) for name in ("auth.unix.ip", "nfsd.fh", "nfsd.export")
    }
    poll = select.poll()
    for channel in channels.values():
        poll.register(channel, select.POLLIN)
    begin(threads, port)
    print("serving")
    while True:
        asked = {fd for fd, _ in poll.poll()}
        for name, channel in channels.items():
            if channel.fileno() in asked:
                channel.write(answer(name, channel.read(1 << 15).decode(), directory, writable).encode())


def begin(threads: str, port: int) -> None:
    tell("threads", "0")  # those of one that was killed
    tell("versions", "-2 -3 +4 -4.0 +4.1 +4.2")
    for family, everybody in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((everybody, port))
            sock.listen()
            tell("portlist", str(sock.fileno()))
    threading.Thread(target=know_nobody, daemon=True).start()
    tell("threads", threads)


def know_nobody() -> None:
    """Answers what the kernel asks about clients, who are all new. It makes the pipe when it begins, and looks for a reader."""
    pipe = PIPES / "nfsd" / "cld"
    while not pipe.exists():
        time.sleep(LOOK_AGAIN)
    with pipe.open("r+b", buffering=0) as file:
        while select.select([file], [], []):
            question = file.read(1 << 12)
            version, command, _, number = ABOUT_CLIENTS.unpack_from(question)
            rest = question[ABOUT_CLIENTS.size :]
            about = bytes([VERSION]) + rest[1:] if command == GET_VERSION else rest
            file.write(ABOUT_CLIENTS.pack(version, command, 0, number) + about)


def tell(file: str, word: str) -> None:
    (CONTROL / file).write_text(word + "\n")


def answer(name: str, question: str, directory: str, writable: bool) -> str:
    """Without anything after the time: there is no such thing."""
    question = question.strip()
    known = f"{question} {FOREVER}"
    if name == "auth.unix.ip":
        return f"{known} {DOMAIN}\n"
    if name == "nfsd.fh":
        return f"{known} {quoted(directory)}\n" if question == f"{DOMAIN} {ROOT}" else f"{known}\n"
    flags = ANY_PORT | NO_SUBTREE_CHECK | IS_NUMBERED | (0 if writable else READ_ONLY)
    return f"{known} {flags} 65534 65534 0\n" if question == f"{DOMAIN} {quoted(directory)}" else f"{known}\n"


def quoted(path: str) -> str:
    """As the kernel does (net/sunrpc/cache.c, qword_add)."""
    return "".join(rf"\{ord(each):03o}" if each in " \t\n\\" else each for each in path)


if __name__ == "__main__":
    main()
