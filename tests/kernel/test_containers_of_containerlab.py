"""A containerlab file whose nodes are containers: up, what each of them can do, down."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import lab, well
from support.dockerd import IMAGE, Daemon

from lab.live import unique_name

pytestmark = pytest.mark.root

FILE = """\
name: {name}
topology:
  defaults:
    kind: linux
    image: {image}
    cmd: sh -c "sleep 3600"
    binds: ["__clabNodeName__.txt:/who:ro"]
    env: {{VERSION: 1.10}}
  nodes:
    a:
      exec:
        - ip addr add 10.0.0.1/24 dev eth1
        - sh -c 'echo $$VERSION > /tmp/version'
    b:
      privileged: false
      cap-add: [NET_ADMIN, NET_RAW]
      sysctls: {{net.ipv4.ip_forward: 1}}
    lan: {{kind: bridge}}
  links:
    - endpoints: ["a:eth1", "lan:a"]
    - type: veth
      mtu: 1400
      endpoints: [{{node: b, interface: eth1, ipv4: 10.0.0.2/24}}, {{node: lan, interface: b}}]
"""


def test_containers_of_a_containerlab_file_come_up_reach_each_other_and_go(tmp_path: Path, dockerd: Daemon) -> None:
    name = unique_name("clab")
    for node in ("a", "b"):
        (tmp_path / f"{node}.txt").write_text(node)
    file = tmp_path / "pair.clab.yml"
    file.write_text(FILE.format(name=name, image=IMAGE))
    assert "containers are privileged" in well("up", file).stderr
    try:
        assert well("exec", name, "a", "--", "ping", "-c1", "-W5", "10.0.0.2").stdout
        assert well("exec", name, "a", "--", "cat", "/who", "/tmp/version").stdout == "a1.10\n"
        assert "mtu 9500" in well("exec", name, "a", "--", "ip", "link", "show", "eth1").stdout
        assert "mtu 1400" in well("exec", name, "b", "--", "ip", "link", "show", "eth1").stdout
        assert well("exec", name, "b", "--", "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
        assert lab("exec", name, "a", "--", "sh", "-c", "echo x > /who").status != 0, "a bind with ro cannot be written"
    finally:
        well("down", name)
    assert lab("inspect", name).status != 0
