"""The engine's side: a Python process that makes a lab through the API and holds it.

    engine_star.py FILE NAME [COMMAND]

Timed is `Lab.up(recipe, wait=False)` alone: the plan, the claim of the name, every step. Not timed: starting Python,
loading modules (a lab of one host, made first, loads them all), reading and checking the file.
With COMMAND each node runs it afterwards, and keeps what it needs for that.

On stdout, one JSON object: {"create_s": S, "namespaces": [paths]}. After a byte or the end of stdin it takes the lab down.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from star import written_out
from subjects import namespaces_of

from lab import Lab, recipe


def main(file: str, name: str, *command: str) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the labs go down
    wished = recipe.read(file)
    with tempfile.TemporaryDirectory() as scratch, Lab.up(_one_host(Path(scratch)), name=f"{name}-warm", wait=False):
        start = time.monotonic()
        with Lab.up(wished, name=name, wait=False) as lab:
            create_s = time.monotonic() - start
            for node in lab if command else ():
                node.run(command)
            namespaces = [str(path) for path in namespaces_of(name)]
            print(json.dumps({"create_s": create_s, "namespaces": namespaces}), flush=True)
            sys.stdin.read(1)


def _one_host(scratch: Path) -> Path:
    file = scratch / "one.yaml"
    file.write_text(written_out(1))
    return file


main(*sys.argv[1:])
