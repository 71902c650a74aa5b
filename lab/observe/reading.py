"""A file on a node, read record by record past its caches, as a stream is: whether every record came, and the longest gap.

    server.run(["sh", "-c", f"seq -f {reading.RECORD} 0 63 > /run/exported/records"])
    with Reading(client.spawn, "/run/mounted/records") as file:
        file.wait_on()
        client.run(["ip", "link", "set", "eth0", "down"])
        file.wait_on()
    print(file.longest().seconds)

Each record is its number, in as many digits as fill a page but for the end of its line. A process of the node reads them one
after the other with O_DIRECT, from the first again after the last: over NFS each is a question to the server. Whoever mounted
the file for that process's mount namespace, it is seen there and nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from lab.observe.stream import IN_A_ROW, INTERVAL, Progress
from lab.substrate.processes import Process

SIZE = 4096  # bytes
RECORD = f"%0{SIZE - 1}.0f"
"""What seq(1) makes records of."""
_READER = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
size, interval, page, number = int(sys.argv[2]), float(sys.argv[3]), mmap.mmap(-1, int(sys.argv[2])), 0
while True:
    try:
        os.preadv(file, [page], number * size)
    except OSError as error:
        sys.exit(f"error {error.errno} {error.strerror}")
    if int(page[:-1]) != number:
        sys.exit(f"error 0 record {int(page[:-1])} came where {number} was due")
    print(number, flush=True)
    number = (number + 1) % (os.fstat(file).st_size // size)
    time.sleep(interval)
"""


class Reading(Progress):
    """A context manager that reads `path` from its own beginning to its end. `spawn` starts a command and gives its output, as
    `Node.spawn` does."""

    def __init__(self, spawn: Callable[..., Process], path: str) -> None:
        super().__init__()
        self._spawn, self._path = spawn, path
        self._thread = threading.Thread(target=self._follow, name="lab-reading", daemon=True)

    def __enter__(self) -> Self:
        self._process = self._spawn(["python3", "-I", "-S", "-c", _READER, self._path, str(SIZE), str(INTERVAL)])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._thread.join()
        self._process.close()

    def __str__(self) -> str:
        return f"reading {self._path} on {self._process.node}"

    def wait_on(self, within: float = 10.0) -> None:
        """Until some records that are asked for from now on came. Raises ConditionTimeout, also where reading failed."""
        self._wait_until(self.received + 1 + IN_A_ROW, within)  # one may have been asked for

    def _follow(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for _ in self._process.stdout:
            self._came(1)
        self._died(_read(self._process.stderr.read()))


def _read(said: str) -> OSError:
    """What the reader ended with."""
    word, _, rest = said.strip().rpartition("\n")[2].partition(" ")
    code, _, text = rest.partition(" ")
    return OSError(int(code), text) if word == "error" else OSError(said.strip())
