"""What lab lives in this guest, for the host, which has not read its topology: `record ANSWER`, run by the agent.

ANSWER becomes a JSON object: `nodes`, each node's kind by its name.
"""

from __future__ import annotations

import glob
import json
import sys

_RECORDS = "/run/lab/*/lab.json"


def main() -> None:
    """Of the one lab that there is."""
    nodes = {}
    for path in glob.glob(_RECORDS):
        with open(path, encoding="utf-8") as file:
            nodes = json.load(file)["nodes"]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"nodes": nodes}, file)
