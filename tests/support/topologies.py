"""Small topologies that several tests bring up; texts as a user would write them."""

from __future__ import annotations

PAIR = """\
name: {name}
nodes: {{a: {{}}, b: {{}}}}
links:
  - {{endpoints: [a, b], addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"], b: [10.0.0.2/24, "2001:db8::2/64"]}}, nodad: true}}
"""
"""Two hosts on a wire, in both families."""

ALONE = "name: {name}\nnodes: {{a: {{}}}}\n"
"""The least lab."""

EVERY_STEP = """\
name: {name}
nodes:
  lan: {{kind: switch}}
  r: {{kind: router}}
  a:
    sysctls: {{net.ipv4.ip_default_ttl: 33}}
    services: {{idle: {{command: [sleep, "1000"]}}}}
    interfaces:
      eth0: {{sysctls: {{ipv4.rp_filter: 1}}}}
      mv0: {{kind: macvlan, parent: eth0}}
      br7: {{kind: bridge, members: [eth1]}}
    routes: [{{to: default, via: 10.0.0.254}}]
    rules: [{{from: 10.0.0.0/8, table: 100}}]
    neighbours: [{{address: 10.0.0.9, dev: eth0, mac: "02:00:00:00:00:09"}}]
links:
  - {{endpoints: ["a:eth0", lan], addresses: {{a: 10.0.0.1/24}}, netem: {{rate: 100mbit}}, offloads: {{tso: false}}}}
  - {{endpoints: [r, lan], addresses: {{r: [10.0.0.254/24, "2001:db8::fe/64"]}}, nodad: true}}
  - {{endpoints: ["a:eth1", "r:eth1"]}}
"""
"""Every kind of step that a kernel without VLAN filtering can do."""
