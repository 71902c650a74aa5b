"""tproxy.py PORT client|own both|listener|speaker SECONDS: passes on the bytes of connections that are handed over to it.

It prints a line for each: who wanted to go where, and what became of it.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from select import select
from threading import Semaphore, Thread

V4, V6 = socket.AF_INET, socket.AF_INET6
# include/uapi/linux/in.h: IP_TRANSPARENT; in6.h: IPV6_TRANSPARENT
TRANSPARENT = {V4: (socket.IPPROTO_IP, 19), V6: (socket.IPPROTO_IPV6, 75)}
SOME = 1 << 16
MOST = 200  # connections at once; a rule that hands over the proxy's own ones would make as many as there is room for


class Proxy:
    """`sockets` names those that may use addresses of others."""

    def __init__(self, port: int, source: str, sockets: str, patience: float) -> None:
        self.port, self.source, self.sockets, self.patience = port, source, sockets, patience
        self.room = Semaphore(MOST)

    def new(self, family: int, which: str) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        if self.sockets in ("both", which):
            sock.setsockopt(*TRANSPARENT[family], 1)
        return sock

    def listener(self, family: int) -> socket.socket:
        sock = self.new(family, "listener")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", self.port))
        sock.listen()
        return sock

    def accept(self, listener: socket.socket) -> None:
        while True:
            self.room.acquire()
            Thread(target=self.take, args=(listener.accept()[0],), daemon=True).start()

    def take(self, client: socket.socket) -> None:
        """The local address of a connection that was handed over is the one that the client wanted."""
        try:
            with closing(client):
                who, wanted = client.getpeername()[0], client.getsockname()
                self.serve(client, who, wanted[:2], f"{who} to {wanted[0]} port {wanted[1]}")
        except OSError:  # the client has gone already
            pass
        finally:
            self.room.release()

    def serve(self, client: socket.socket, who: str, wanted: tuple[str, int], what: str) -> None:
        if wanted[1] == self.port:  # the proxy would ask itself
            say(f"{what}: not handed over")
            return
        try:
            server = self.reach(client.family, who, wanted)
        except OSError as error:
            say(f"{what}: {os.strerror(error.errno) if error.errno else 'timed out'}")
            return
        say(f"{what}: connected from {server.getsockname()[0]}")
        with closing(server):
            relay(client, server)

    def reach(self, family: int, who: str, wanted: tuple[str, int]) -> socket.socket:
        server = self.new(family, "speaker")
        try:
            if self.source == "client":
                server.bind((who, 0))
            server.settimeout(self.patience)
            server.connect(wanted)
            server.settimeout(None)
        except OSError:
            server.close()
            raise
        return server


def say(line: str) -> None:
    """In one piece: several threads speak."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def relay(one: socket.socket, other: socket.socket) -> None:
    """Until both sides have ended, or one broke off."""
    far = {one: other, other: one}
    while far:
        for sock in select(list(far), [], [])[0]:
            try:
                data = sock.recv(SOME)
                far[sock].sendall(data)
                if not data:
                    far.pop(sock).shutdown(socket.SHUT_WR)
            except OSError:
                return


def main(port: str, source: str, sockets: str, patience: str) -> None:
    proxy = Proxy(int(port), source, sockets, float(patience))
    threads = [Thread(target=proxy.accept, args=(proxy.listener(family),)) for family in (V4, V6)]
    for thread in threads:
        thread.start()
    say("listening")


if __name__ == "__main__":
    main(*sys.argv[1:])
