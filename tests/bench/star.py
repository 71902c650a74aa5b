"""The topology of every row: HOSTS hosts on one switch, each with an IPv4 and an IPv6 address, as lab's own file.

The addresses are those of floor.c: 10.0.0.1/16 and 2001:db8::1/64 and on, the latter without duplicate address detection.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

FIRST_V4, FIRST_V6 = IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1")


def written_out(hosts: int) -> str:
    """Every host and link on a line of its own."""
    numbers = range(hosts)
    nodes = "".join(f"  h{i}: {{}}\n" for i in numbers)
    links = "".join(_link(f"h{i}", f"{FIRST_V4 + i}/16", f"{FIRST_V6 + i}/64") for i in numbers)
    return f"name: star\nnodes:\n  lan: {{kind: switch}}\n{nodes}links:\n{links}"


def with_loops(hosts: int) -> str:
    """The same star as a user would write it, with Jinja's loops."""
    link = _link("h{{ i }}", "10.0.{{ (i + 1) // 256 }}.{{ (i + 1) % 256 }}/16", "2001:db8::{{ '%x' % (i + 1) }}/64")
    loop = "#% for i in range(hosts)\n"
    return (
        f"params: {{hosts: {hosts}}}\n---\nname: star\nnodes:\n  lan: {{kind: switch}}\n"
        f'{loop}  "h{{{{ i }}}}": {{}}\n#% endfor\nlinks:\n{loop}{link}#% endfor\n'
    )


def _link(host: str, v4: str, v6: str) -> str:
    addresses = f'{{"{host}": ["{v4}", {{address: "{v6}", nodad: true}}]}}'
    return f'  - {{endpoints: ["{host}:eth0", "lan"], addresses: {addresses}}}\n'
