"""A registry of one image, on the loopback device: as much of the distribution API as `docker pull` asks for.

https://github.com/opencontainers/distribution-spec: a manifest by its tag or digest, and blobs by theirs.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from support.web import Handler, serving

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@contextlib.contextmanager
def registry(archive: bytes, command: list[str]) -> Iterator[str]:
    """While it runs; the name of its image, which has one layer, a tar archive."""
    answers = _answers(archive, command)

    class Answers(Handler, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(whole=True)

        def do_HEAD(self) -> None:
            self._answer(whole=False)

        def _answer(self, whole: bool) -> None:
            found = answers.get(self.path.rpartition("/")[2])
            kind, content = found or ("application/json", b"{}")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Content-Digest", _digest(content))
            self.end_headers()
            if whole:
                self.wfile.write(content)

    with serving(Answers) as where:
        yield f"{where}/lab/pulled:1"


def _answers(archive: bytes, command: list[str]) -> dict[str, tuple[str, bytes]]:
    """The last part of a path -> media type and content."""
    layer = gzip.compress(archive)
    rootfs = {"type": "layers", "diff_ids": [_digest(archive)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": command}, "rootfs": rootfs}).encode()
    parts = {"config": _part(_CONFIG, config), "layers": [_part(_LAYER, layer)]}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, **parts}).encode()
    blobs = {_digest(each): ("application/octet-stream", each) for each in (config, layer)}
    return {"": ("application/json", b"{}"), "1": (_MANIFEST, manifest), _digest(manifest): (_MANIFEST, manifest), **blobs}


def _part(kind: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
