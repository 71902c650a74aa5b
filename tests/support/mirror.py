"""A mirror that misbehaves: an HTTP proxy on the loopback device, which apt is told to use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str], tuple[int, bytes]]
"""The URL that is asked for -> status and content."""


@contextlib.contextmanager
def proxy(answer: Answer) -> Iterator[dict[str, str]]:
    """While it runs; the variables that make apt use it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, content = answer(self.path)
            with contextlib.suppress(OSError):  # who asked has gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        yield {"http_proxy": url, "https_proxy": url, "no_proxy": ""}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
