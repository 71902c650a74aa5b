"""A mirror that misbehaves: an HTTP proxy on the loopback device, which apt is told to use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

from support.web import Handler, serving

Answer = Callable[[str], tuple[int, bytes]]
"""The URL that is asked for -> status and content."""


@contextlib.contextmanager
def proxy(answer: Answer) -> Iterator[dict[str, str]]:
    """While it runs; the variables that make apt use it."""

    class Answers(Handler, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = answer(self.path)
            with contextlib.suppress(OSError):  # who asked has gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

    with serving(Answers) as where:
        yield {"http_proxy": f"http://{where}/", "https_proxy": f"http://{where}/", "no_proxy": ""}
