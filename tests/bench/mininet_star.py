"""Mininet's side: a star of hosts on one Linux bridge, by Debian's package, with Debian's interpreter.

    unshare --net -- /usr/bin/python3 mininet_star.py HOSTS

On stdout, one JSON object: {"create_s": S, "namespaces": [paths]} once the network stands; after a byte or the end of stdin
it is stopped, and the process ends. It runs in a network namespace of its own, because Mininet makes its bridge and
the near ends where it is started; whatever happens to the process, nothing is left in the host's.
"""

import json
import os
import signal
import sys
import time

import mininet.net  # type: ignore[import-not-found]
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge  # type: ignore[import-not-found]
from mininet.topo import SingleSwitchTopo  # type: ignore[import-not-found]

# Mininet would raise limits of the whole machine (fs.file-max, kernel.pty.max ...) and leave them so.
mininet.net.fixLimits = lambda: None


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the hosts' shells end
    start = time.monotonic()
    net = Mininet(topo=SingleSwitchTopo(k=int(sys.argv[1])), switch=LinuxBridge, controller=None)
    try:
        net.start()
        create_s = time.monotonic() - start
        namespaces = [f"/proc/{os.getpid()}/ns/net", *(f"/proc/{host.pid}/ns/net" for host in net.hosts)]
        print(json.dumps({"create_s": create_s, "namespaces": namespaces}), flush=True)
        sys.stdin.read(1)
    finally:
        net.stop()


main()
