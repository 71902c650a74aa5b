"""Serves the files of this folder by HTTP: serve.py ADDRESS PORT; the address :: is every one of both families.

`python3 -m http.server` does the same, but asks a resolver for its own name first (socket.getfqdn in server_bind), for which a
node that has a default route and no resolver waits five seconds.
"""

import socket
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer


class Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


address, port = sys.argv[1], int(sys.argv[2])
Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
with Server((address, port), SimpleHTTPRequestHandler) as server:
    server.serve_forever()
