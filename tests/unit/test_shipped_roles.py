"""The roles that come with lab: the files they make, word by word, and what the real programs' own parsers say of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.roles import specs

from lab.errors import TopologyError
from lab.roles.catalogue import shipped_roles
from lab.roles.spec import Ready, ServiceSpec
from lab.topology.shipped import shipped_templates

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def made(tmp_path: Path, services: str) -> ServiceSpec:
    (spec,) = specs(tmp_path, services)
    return spec


def parsed(tmp_path: Path, name: str, text: str, *argv: str) -> str:
    """What the program `argv` says of the file, whose name ends `argv`; it must take it."""
    file = tmp_path / name
    file.write_text(text)
    words = [*argv[:-1], argv[-1] + str(file)]
    done = subprocess.run(words, env=os.environ | {"PATH": PATH}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_shipped_roles_by_name_with_what_brings_them() -> None:
    found = [(name, role.program, role.package) for name, role in shipped_roles().items()]
    assert found == [
        ("anycast", "python3", "python3"),
        ("bird", "bird", "bird2"),
        ("dhcpcd", "dhcpcd", "dhcpcd-base"),
        ("dnsmasq", "dnsmasq", "dnsmasq-base"),
        ("frr", "/usr/lib/frr/zebra", "frr"),
        ("http", "python3", "python3"),
        ("kea-dhcp6", "kea-dhcp6", "kea-dhcp6-server"),
        ("keepalived", "keepalived", "keepalived"),
        ("nfsd", "python3", "python3"),
        ("nftables", "nft", "nftables"),
        ("ovs-vswitchd", "ovs-vswitchd", "openvswitch-switch"),
        ("ovsdb-server", "python3", "python3"),
        ("radvd", "radvd", "radvd"),
        ("squid", "squid", "squid"),
        ("tproxy", "python3", "python3"),
    ]
    assert all(role.name == name and role.description for name, role in shipped_roles().items())


def test_every_parameter_of_a_shipped_role_is_used_by_it() -> None:
    for name, role in shipped_roles().items():
        texts = " ".join([*role.templates.values(), *role.words.values()])
        assert [param for param in role.params if param not in texts] == [], name


def test_the_readme_of_the_roles_names_each_of_them() -> None:
    readme = (shipped_templates() / "README.md").read_text()
    for name, role in shipped_roles().items():
        assert f"`{name}`" in readme
        assert [param for param in role.params if f"`{param}`" not in readme] == [], name


# -- radvd

RADVD = """\
interface eth0 {
    AdvSendAdvert on;
    IgnoreIfMissing off;
    MinRtrAdvInterval 3;
    MaxRtrAdvInterval 4;
    AdvDefaultLifetime 1800;
    AdvDefaultPreference medium;
    AdvManagedFlag off;
    AdvOtherConfigFlag off;
    AdvCurHopLimit 64;
    prefix 2001:db8::/64 {
        AdvOnLink on;
        AdvAutonomous on;
        AdvValidLifetime 86400;
        AdvPreferredLifetime 14400;
    };
};
"""


def test_radvd_advertises_the_prefixes_of_the_nodes_own_interfaces(tmp_path: Path) -> None:
    spec = made(tmp_path, "{radvd: }")
    assert " ".join(spec.argv) == "radvd --nodaemon --logmethod stderr --config radvd.conf --pidfile radvd.pid"
    assert spec.ready == Ready(counter="Icmp6OutRouterAdvertisements")
    assert dict(spec.files) == {"radvd.conf": RADVD}


def test_radvd_says_what_its_parameters_ask_for(tmp_path: Path) -> None:
    words = (
        "mtu: 1480, managed: true, other: true, lifetime: 0, preference: high, onlink: false, autonomous: false,"
        " valid: 100, preferred: 50, min_interval: 4.5, max_interval: 6, hop_limit: 0,"
        ' prefixes: ["2001:db8:1::/64"], rdnss: ["2001:db8::1", "2001:db8::2"], dnssl: [lab, example]'
    )
    text = made(tmp_path, f"{{radvd: {{{words}}}}}").files["radvd.conf"]
    assert " ".join(text.split()) == (
        "interface eth0 { AdvSendAdvert on; IgnoreIfMissing off; MinRtrAdvInterval 4.5; MaxRtrAdvInterval 6;"
        " AdvDefaultLifetime 0; AdvDefaultPreference high; AdvManagedFlag on; AdvOtherConfigFlag on; AdvCurHopLimit 0;"
        " AdvLinkMTU 1480; prefix 2001:db8:1::/64 { AdvOnLink off; AdvAutonomous off; AdvValidLifetime 100;"
        " AdvPreferredLifetime 50; }; RDNSS 2001:db8::1 2001:db8::2 { }; DNSSL lab example { }; };"
    )


@pytest.mark.parametrize(
    "words",
    [
        "",
        "mtu: 1480, managed: true, other: true, lifetime: 0, preference: high, hop_limit: 0",
        'prefixes: ["2001:db8:1::/64", "2001:db8:2::/64"], rdnss: ["2001:db8::1", "2001:db8::2"], dnssl: [lab, example]',
        "interfaces: [eth0, lo], min_interval: 4, max_interval: 6.0",
    ],
)
def test_radvds_own_parser_takes_what_is_made(tmp_path: Path, words: str) -> None:
    text = made(tmp_path, f"{{radvd: {{{words}}}}}").files["radvd.conf"]
    assert "syntax ok" in parsed(tmp_path, "radvd.conf", text, "radvd", "--configtest", "--config=")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("interfaces: [eth7]", "role radvd: node a has no interface eth7"),
        (
            "min_interval: 4",
            "role radvd: min_interval can be 0.75 of max_interval at most, which is 3.0",
        ),
    ],
)
def test_radvd_refuses_what_it_would_fail_on(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{radvd: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [message]


def test_radvd_on_a_node_without_a_global_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        specs(tmp_path, "{}", "  c: {services: {radvd: }}\n")
    assert [each.message for each in caught.value.problems] == [
        "role radvd: no interface of node c has a global IPv6 address: give it one, or name `interfaces`"
    ]


# -- dnsmasq

DNSMASQ = """\
no-resolv
no-hosts
no-poll
pid-file=/run/services/dnsmasq/dnsmasq.pid
domain=lab
local=/lab/
addn-hosts=/run/services/dnsmasq/hosts
"""
HOSTS = "10.0.0.1 a.lab\n2001:db8::1 a.lab\n10.0.0.2 b.lab\n"


def test_dnsmasq_serves_the_names_of_the_topology(tmp_path: Path) -> None:
    spec = made(tmp_path, "{dnsmasq: }")
    assert spec.argv == (
        "dnsmasq",
        "--keep-in-foreground",
        "--log-facility=-",
        "--user=root",
        "--group=root",
        "--conf-file=dnsmasq.conf",
    )
    assert spec.ready == Ready(listen=("udp/53",))
    assert dict(spec.files) == {"dnsmasq.conf": DNSMASQ, "hosts": HOSTS}


EVERYTHING = (
    'domain: example, records: {www.example: [10.0.0.9, "2001:db8::9"], one.example: 10.0.0.8}, servers: [10.0.0.2],'
    ' interfaces: [eth0], bind: dynamic, dhcp: ["10.0.0.100,10.0.0.200,1h"],'
    ' dhcp6: ["::100,::1ff,constructor:eth0,64,1h"],'
    ' options: ["option:router,10.0.0.1"], hosts: ["02:00:00:00:00:01,10.0.0.150"], ra: true'
)


def test_dnsmasq_says_what_its_parameters_ask_for(tmp_path: Path) -> None:
    spec = made(tmp_path, f"{{d: {{role: dnsmasq, {EVERYTHING}}}}}")
    assert spec.files["dnsmasq.conf"].splitlines() == [
        "no-resolv",
        "no-hosts",
        "no-poll",
        "pid-file=/run/services/d/dnsmasq.pid",
        "domain=example",
        "local=/example/",
        "addn-hosts=/run/services/d/hosts",
        "server=10.0.0.2",
        "interface=eth0",
        "bind-dynamic",
        "dhcp-leasefile=/run/services/d/leases",
        "dhcp-authoritative",
        "no-ping",
        "dhcp-range=10.0.0.100,10.0.0.200,1h",
        "dhcp-range=::100,::1ff,constructor:eth0,64,1h",
        "dhcp-host=02:00:00:00:00:01,10.0.0.150",
        "dhcp-option=option:router,10.0.0.1",
        "enable-ra",
    ]
    assert spec.files["hosts"].splitlines()[-3:] == ["10.0.0.9 www.example", "2001:db8::9 www.example", "10.0.0.8 one.example"]


@pytest.mark.parametrize(
    ("words", "listen"),
    [
        ("", ("udp/53",)),
        ('dhcp: ["10.0.0.100,10.0.0.200"]', ("udp/53", "udp/67")),
        ('dns: false, dhcp: ["10.0.0.100,10.0.0.200"]', ("udp/67",)),
        ('dns: false, dhcp6: ["::1,::9,constructor:eth0", "2001:db8::,ra-only"]', ("udp/547",)),
        ('dns: false, ra: true, dhcp6: ["2001:db8::,ra-only"]', ()),
    ],
)
def test_dnsmasq_is_ready_once_it_serves_what_it_was_asked_for(tmp_path: Path, words: str, listen: tuple[str, ...]) -> None:
    assert made(tmp_path, f"{{dnsmasq: {{{words}}}}}").ready == Ready(listen=listen)


@pytest.mark.parametrize(
    "words",
    [
        "",
        EVERYTHING,
        "bind: interfaces, interfaces: [lo, eth0], ping: true",
        'dns: false, dhcp6: ["2001:db8::,ra-only"], ra: true',
    ],
)
def test_dnsmasqs_own_parser_takes_what_is_made(tmp_path: Path, words: str) -> None:
    text = made(tmp_path, f"{{dnsmasq: {{{words}}}}}").files["dnsmasq.conf"]
    assert "syntax check OK" in parsed(tmp_path, "dnsmasq.conf", text, "dnsmasq", "--test", "--conf-file=")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dns: false", "role dnsmasq: nothing is served: leave dns on, or give a range as dhcp or dhcp6"),
        ("interfaces: [eth7]", "role dnsmasq: node a has no interface eth7"),
    ],
)
def test_dnsmasq_refuses_what_it_would_fail_on(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{dnsmasq: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [message]


# -- http


def test_the_http_server_has_a_page_that_names_its_node(tmp_path: Path) -> None:
    spec = made(tmp_path, "{web1: {role: http, port: 8080}}")
    assert spec.argv == ("python3", "-I", "-u", "serve.py", "::", "8080")
    assert spec.ready == Ready(listen=("tcp/8080",))
    page = "<!doctype html>\n<title>a</title>\n<p>This is web1 on a of x.\n"
    assert dict(spec.files) == {"index.html": page, "serve.py": (shipped_templates() / "http" / "serve.py").read_text()}


def test_the_http_server_takes_pages_of_ones_own(tmp_path: Path) -> None:
    spec = made(tmp_path, "{http: {page: hello, files: {more.txt: text}}}")
    assert {name: text for name, text in spec.files.items() if name != "serve.py"} == {
        "index.html": "hello\n",
        "more.txt": "text",
    }


# -- dhcpcd


@pytest.mark.parametrize(
    ("words", "text", "line"),
    [
        ("", "ipv4only\nnoipv4ll\nnodelay\nnoarp\ninterface eth0\n", r"leased \S+ for"),
        ("probe: true, lease: 60", "ipv4only\nnoipv4ll\nnodelay\ninterface eth0\nleasetime 60\n", r"leased \S+ for"),
        ("v6: true", "noipv4ll\nnodelay\nnoarp\ninterface eth0\nnoipv6rs\nia_na\n", r"leased \S+ for"),
        (
            "v4: false, v6: true",
            "ipv6only\nnoipv4ll\nnodelay\nnoarp\ninterface eth0\nnoipv6rs\nia_na\n",
            r"adding address \S+/128",
        ),
    ],
)
def test_dhcpcd_asks_for_what_it_should(tmp_path: Path, words: str, text: str, line: str) -> None:
    spec = made(tmp_path, f"{{dhcpcd: {{{words}}}}}")
    assert spec.argv == ("dhcpcd", "--nobackground", "--config", "/run/services/dhcpcd/dhcpcd.conf", "eth0")
    assert (spec.directories, spec.ready) == (("/var/lib/dhcpcd",), Ready(line=line))
    options = "option subnet_mask, routers, broadcast_address, interface_mtu, classless_static_routes\n"
    head, device, tail = text.partition("interface eth0\n")
    wanted = f"script /bin/true\nduid ll\nallowinterfaces eth0\n{head}{device}{options}{tail}"
    assert dict(spec.files) == {"dhcpcd.conf": wanted}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("v4: false", "role dhcpcd: nothing is asked for: leave v4 on, or set v6"),
        ("interface: eth7", "role dhcpcd: node a has no interface eth7"),
    ],
)
def test_dhcpcd_refuses_what_it_would_fail_on(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{dhcpcd: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [message]


# -- keepalived

KEEPALIVED = """\
global_defs {
    vrrp_version 3
}
vrrp_instance keepalived {
    state BACKUP
    interface eth0
    virtual_router_id 1
    priority 100
    advert_int 1.0
    virtual_ipaddress {
        2001:db8::f/64
    }
}
"""
MANY = 'addresses: ["10.0.0.9/24", "10.0.0.10/24"], id: 7, priority: 200, interval: 0.1, preempt: false'


def test_keepalived_is_a_virtual_router_of_vrrp_3(tmp_path: Path) -> None:
    spec = made(tmp_path, '{keepalived: {addresses: ["2001:db8::f/64"]}}')
    folder = "/run/services/keepalived"
    files = (f"--use-file={folder}/keepalived.conf", f"--pid={folder}/keepalived.pid", f"--vrrp_pid={folder}/vrrp.pid")
    assert spec.argv == ("keepalived", "--dont-fork", "--log-console", "--vrrp", *files)
    assert spec.ready == Ready(line="Entering (MASTER|BACKUP) STATE")
    assert dict(spec.files) == {"keepalived.conf": KEEPALIVED}


def test_keepalived_says_what_its_parameters_ask_for(tmp_path: Path) -> None:
    text = made(tmp_path, f"{{floats: {{role: keepalived, {MANY}}}}}").files["keepalived.conf"]
    assert " ".join(text.split()) == (
        "global_defs { vrrp_version 3 } vrrp_instance floats { state BACKUP interface eth0 virtual_router_id 7 priority 200"
        " advert_int 0.1 nopreempt virtual_ipaddress { 10.0.0.9/24 10.0.0.10/24 } }"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("addresses: []", "role keepalived: there is no virtual address: name one in `addresses`"),
        ('addresses: ["10.0.0.9/24"], interface: eth7', "role keepalived: node a has no interface eth7"),
    ],
)
def test_keepalived_refuses_what_it_would_fail_on(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{keepalived: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [message]


# -- anycast


def test_a_member_of_an_anycast_group_holds_it_at_an_interface_and_perhaps_for_a_server(tmp_path: Path) -> None:
    spec = made(tmp_path, '{anycast: {group: "2001:db8::acac"}}')
    assert spec.argv == ("python3", "-I", "-u", "hold.py", "2001:db8::acac", "eth0")
    assert spec.ready == Ready(line="^joined")
    assert dict(spec.files) == {"hold.py": (shipped_templates() / "anycast" / "hold.py").read_text()}
    tied = made(tmp_path, '{anycast: {group: "2001:db8::acac", interface: lo, pidfile: /run/s.pid}}')
    assert tied.argv[4:] == ("2001:db8::acac", "lo", "/run/s.pid")


# -- kea-dhcp6

KEA = """\
{
  "Dhcp6": {
    "interfaces-config": {
      "interfaces": ["eth0"],
      "service-sockets-max-retries": 50,
      "service-sockets-retry-wait-time": 100
    },
    "lease-database": {"type": "memfile", "name": "/run/services/kea-dhcp6/leases", "lfc-interval": 0},
    "valid-lifetime": 3600,
    "preferred-lifetime": 1800,
    "option-data": [
    ],
    "subnet6": [
      {
        "id": 1,
        "subnet": "2001:db8::/64",
        "interface": "eth0",
        "rapid-commit": true,
        "pools": [
          {"pool": "2001:db8::100-2001:db8::1ff"}
        ]
      }
    ],
    "loggers": [{"name": "kea-dhcp6", "severity": "INFO", "output_options": [{"output": "stdout", "flush": true}]}]
  }
}
"""
KEA_WORDS = (
    'interfaces: [eth0], pools: ["2001:db8::10-2001:db8::1f", "2001:db8::1:0/112"], valid: 60, preferred: 30, rapid: false,'
    ' options: {dns-servers: "2001:db8::1, 2001:db8::2", domain-search: lab}'
)


def test_kea_serves_the_prefixes_of_the_nodes_own_interfaces(tmp_path: Path) -> None:
    spec = made(tmp_path, "{kea-dhcp6: }")
    assert (spec.argv, spec.directories) == (("kea-dhcp6", "-c", "kea-dhcp6.conf"), ("/var/lib/kea",))
    assert dict(spec.env) == {"KEA_LOCKFILE_DIR": "none", "KEA_PIDFILE_DIR": "/run/services/kea-dhcp6"}
    assert spec.ready == Ready(listen=("udp/547",))
    assert dict(spec.files) == {"kea-dhcp6.conf": KEA}


def test_kea_says_what_its_parameters_ask_for(tmp_path: Path) -> None:
    said = json.loads(made(tmp_path, f"{{kea-dhcp6: {{{KEA_WORDS}}}}}").files["kea-dhcp6.conf"])["Dhcp6"]
    (subnet,) = said["subnet6"]
    assert [each["pool"] for each in subnet["pools"]] == ["2001:db8::10-2001:db8::1f", "2001:db8::1:0/112"]
    assert (said["valid-lifetime"], said["preferred-lifetime"], subnet["rapid-commit"]) == (60, 30, False)
    assert said["option-data"] == [
        {"name": "dns-servers", "data": "2001:db8::1, 2001:db8::2"},
        {"name": "domain-search", "data": "lab"},
    ]


@pytest.mark.parametrize("words", ["", KEA_WORDS])
def test_keas_own_parser_takes_what_is_made(tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for the interfaces that it is told, of which every host has lo."""
    monkeypatch.setenv("KEA_LOCKFILE_DIR", "none")
    text = made(tmp_path, f"{{kea-dhcp6: {{{words}}}}}").files["kea-dhcp6.conf"].replace("eth0", "lo")
    text = text.replace("/run/services/kea-dhcp6", str(tmp_path))
    parsed(tmp_path, "kea-dhcp6.conf", text, "kea-dhcp6", "-t", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("interfaces: [lo]", "role kea-dhcp6: node a has no interface lo with a global IPv6 address"),
        ("preferred: 2, valid: 1", "role kea-dhcp6: preferred can be valid at most, which is 1"),
    ],
)
def test_kea_refuses_what_it_would_fail_on(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{kea-dhcp6: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [message]


@pytest.mark.parametrize(
    ("addresses", "words", "message"),
    [
        ("", "", "no interface of node c has a global IPv6 address: give it one"),
        ('"2001:db8:1::7:0:1/112"', "", "name the pools of 2001:db8:1::7:0:0/112, which may not hold ::100 to ::1ff"),
        (
            '"2001:db8:1::1/64", "2001:db8:2::1/64"',
            'pools: ["2001:db8:1::/112"]',
            "pools belong to one prefix, and here are 2001:db8:1::/64, 2001:db8:2::/64",
        ),
    ],
)
def test_kea_on_a_node_with_other_prefixes_is_refused(tmp_path: Path, addresses: str, words: str, message: str) -> None:
    device = f"interfaces: {{d: {{kind: dummy, addresses: [{addresses}]}}}}"
    with pytest.raises(TopologyError) as caught:
        specs(tmp_path, "{}", f"  c: {{{device}, services: {{kea-dhcp6: {{{words}}}}}}}\n")
    assert [each.message for each in caught.value.problems] == [f"role kea-dhcp6: {message}"]


# -- squid

SQUID = """\
http_port 3128
acl clients src all
http_access allow clients
http_access deny all
cache deny all
hosts_file none
dns_nameservers 127.0.0.1
connect_timeout 60 seconds
forward_timeout 240 seconds
happy_eyeballs_connect_timeout 250
pinger_enable off
visible_hostname a
pid_filename none
access_log stdio:/run/services/squid/access.log
cache_log /dev/null
coredump_dir /run/services/squid
shutdown_lifetime 1 seconds
"""
SQUID_OF_ALL = (
    'port: 8080, tproxy: 8129, dns: [10.0.0.53, "2001:db8::53"], domain: lab, outgoing: [10.0.0.9, "2001:db8::9"],'
    ' connect_timeout: 2, forward_timeout: 9, happy_eyeballs: 100, allow: [10.0.0.0/24, "2001:db8::/64"]'
)


def test_squid_listens_for_clients_who_ask_it(tmp_path: Path) -> None:
    spec = made(tmp_path, "{squid: }")
    assert spec.argv == ("squid", "-N", "-d1", "-f", "squid.conf")
    assert (spec.directories, spec.owner, spec.ready) == (("/var/log/squid",), "proxy", Ready(listen=("tcp/3128",)))
    assert dict(spec.files) == {"squid.conf": SQUID}


def test_squid_says_what_its_parameters_ask_for(tmp_path: Path) -> None:
    spec = made(tmp_path, f"{{squid: {{{SQUID_OF_ALL}}}}}")
    assert spec.ready == Ready(listen=("tcp/8080", "tcp/8129"))
    assert [line for line in spec.files["squid.conf"].splitlines() if line not in SQUID.splitlines()] == [
        "http_port 8080",
        "http_port 8129 tproxy",
        "acl clients src 10.0.0.0/24 2001:db8::/64",
        "dns_nameservers 10.0.0.53 2001:db8::53",
        "append_domain .lab",
        "tcp_outgoing_address 10.0.0.9",
        "tcp_outgoing_address 2001:db8::9",
        "connect_timeout 2 seconds",
        "forward_timeout 9 seconds",
        "happy_eyeballs_connect_timeout 100",
    ]


@pytest.mark.parametrize("words", ["", SQUID_OF_ALL])
def test_squids_own_parser_takes_what_is_made(tmp_path: Path, words: str) -> None:
    text = made(tmp_path, f"{{squid: {{{words}}}}}").files["squid.conf"]
    found = parsed(tmp_path, "squid.conf", text, "squid", "-k", "parse", "-f", "")
    assert not [line for line in found.splitlines() if "ERROR" in line or "WARNING" in line], found


def test_squid_refuses_one_port_for_both(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, "{squid: {tproxy: 3128}}")
    said = "role squid: port and tproxy are both 3128: a port is either asked or handed over to"
    assert [each.message for each in caught.value.problems] == [said]


def test_the_nfs_server_is_told_what_its_parameters_ask_for(tmp_path: Path) -> None:
    assert made(tmp_path, "{nfsd: }").argv[3:] == ("nfsd.py", "/run/exported", "ro", "2", "2049")
    spec = made(tmp_path, "{nfsd: {directory: /srv, write: true, threads: 8, port: 2050}}")
    assert (spec.argv[3:], spec.ready.line) == (("nfsd.py", "/srv", "rw", "8", "2050"), "^serving$")


# -- nftables and the small transparent proxy


def test_nftables_begins_from_nothing_and_loads_what_it_is_given(tmp_path: Path) -> None:
    spec = made(tmp_path, "{nftables: {rules: 'table inet x { }'}}")
    assert spec.argv == ("sh", "-c", "nft --file rules.nft && echo loaded && exec sleep infinity")
    assert spec.ready == Ready(line="^loaded$")
    assert dict(spec.files) == {"rules.nft": "flush ruleset\ntable inet x { }\n"}


def test_nftables_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, "{nftables: }")
    assert [each.message for each in caught.value.problems] == ["role nftables: parameter rules: a value must be given"]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("", ("3129", "client", "both", "5.0")),
        ("port: 99, source: own, transparent: listener, patience: 0.5", ("99", "own", "listener", "0.5")),
    ],
)
def test_the_small_transparent_proxy_is_told_what_its_parameters_ask_for(
    tmp_path: Path, words: str, arguments: tuple[str, ...]
) -> None:
    spec = made(tmp_path, f"{{tproxy: {{{words}}}}}")
    assert spec.argv == ("python3", "-I", "-u", "tproxy.py", *arguments)
    assert spec.ready == Ready(line="^listening$")
    assert dict(spec.files) == {"tproxy.py": (shipped_templates() / "tproxy" / "tproxy.py").read_text()}


# -- frr and bird

SPEAKS = (
    "ospf: [lo, eth0], ospf6: [eth0], passive: [lo], cost: {eth0: 7}, hello: 1, dead: 4, retransmit: 2,"
    " redistribute: [connected]"
)
BFD = 'bfd: 50, multiplier: 5, src: [10.0.0.1, "2001:db8::1"]'
PEERS = (
    "asn: 65001, networks: [10.9.0.0/16],"
    ' neighbours: {10.0.0.2: {asn: 65002, password: secret, multihop: true}, "2001:db8::2": 65003}'
)
FRR_OSPF = """\
frr defaults traditional
hostname a
router-id 10.0.0.1
interface lo
 ip ospf area 0.0.0.0
 ip ospf cost 10
 ip ospf passive
exit
interface eth0
 ip ospf area 0.0.0.0
 ip ospf cost 7
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
 ip ospf retransmit-interval 2
 ipv6 ospf6 area 0.0.0.0
 ipv6 ospf6 cost 7
 ipv6 ospf6 network point-to-point
 ipv6 ospf6 hello-interval 1
 ipv6 ospf6 dead-interval 4
 ipv6 ospf6 retransmit-interval 2
exit
router ospf
 ospf router-id 10.0.0.1
 redistribute connected
exit
router ospf6
 ospf6 router-id 10.0.0.1
 redistribute connected
exit

"""
FRR_BGP = """\
router bgp 65001
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 timers bgp 60 180
 neighbor 10.0.0.2 remote-as 65002
 neighbor 10.0.0.2 password secret
 neighbor 10.0.0.2 ebgp-multihop
 neighbor 10.0.0.2 timers connect 120
 neighbor 2001:db8::2 remote-as 65003
 neighbor 2001:db8::2 timers connect 120
 address-family ipv4 unicast
  neighbor 10.0.0.2 activate
  network 10.9.0.0/16
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8::2 activate
 exit-address-family
exit

"""
BIRD_OSPF = """\
protocol ospf v2 ospf4 {
    ecmp yes;
    ipv4 {
        export filter to_ospf;
    };
    area 0.0.0.0 {
        interface "lo" {
            cost 10;
            stub yes;
        };
        interface "eth0" {
            cost 7;
            type ptp;
            hello 1;
            dead 4;
            retransmit 2;
            bfd no;
        };
    };
}
"""
BIRD_BGP = """\
protocol bgp {
    local as 65001;
    neighbor 10.0.0.2 as 65002;
    password "secret";
    multihop;
    keepalive time 60;
    hold time 180;
    connect retry time 120;
    error wait time 60, 300;
    bfd no;
    ipv4 {
        import all;
        export filter to_bgp;
    };
}
"""


def test_frr_runs_the_daemons_that_it_is_asked_for_and_is_ready_once_all_are_configured(tmp_path: Path) -> None:
    spec = made(tmp_path, f"{{frr: {{{SPEAKS}}}}}")
    assert spec.argv == ("python3", "-I", "-u", "frr.py", "zebra", "ospfd", "ospf6d")
    assert (spec.program, spec.package, spec.owner) == ("/usr/lib/frr/zebra", "frr", "frr")
    assert (spec.directories, spec.ready) == (("/etc/frr", "/var/lib/frr", "/var/tmp/frr"), Ready(line="^configured$"))
    all_of_them = made(tmp_path, f"{{frr: {{{PEERS}, bfd: 100, daemons: [staticd]}}}}")
    assert all_of_them.argv[4:] == ("zebra", "bfdd", "bgpd", "staticd")


def test_frr_speaks_ospf_over_both_families_as_it_is_told(tmp_path: Path) -> None:
    assert made(tmp_path, f"{{frr: {{{SPEAKS}}}}}").files["frr.conf"] == FRR_OSPF


def test_frr_knows_its_neighbours_of_bgp(tmp_path: Path) -> None:
    assert made(tmp_path, f"{{frr: {{{PEERS}}}}}").files["frr.conf"].endswith(FRR_BGP)


def test_frr_prefers_a_source_for_each_family_and_watches_links_by_bfd(tmp_path: Path) -> None:
    text = made(tmp_path, f"{{frr: {{{SPEAKS}, {BFD}, throttle: false, lines: 'log syslog'}}}}").files["frr.conf"]
    lines = text.splitlines()
    added = [line for line in lines if line not in FRR_OSPF.splitlines()]
    assert added == [
        "bfd",
        " profile lab",
        "  transmit-interval 50",
        "  receive-interval 50",
        "  detect-multiplier 5",
        " exit",
        "route-map SRC4 permit 10",
        " set src 10.0.0.1",
        "ip protocol ospf route-map SRC4",
        "ip protocol bgp route-map SRC4",
        "route-map SRC6 permit 10",
        " set src 2001:db8::1",
        "ipv6 protocol ospf6 route-map SRC6",
        "ipv6 protocol bgp route-map SRC6",
        " ip ospf bfd",
        " ip ospf bfd profile lab",
        " ipv6 ospf6 bfd",
        " ipv6 ospf6 bfd profile lab",
        " timers throttle lsa all 0",
        " timers lsa min-arrival 0",
        " timers throttle spf 0 50 500",
        " timers lsa min-arrival 0",
        " timers throttle spf 0 50 500",
        "log syslog",
    ]


def test_bird_speaks_ospf_and_bgp_as_it_is_told(tmp_path: Path) -> None:
    spec = made(tmp_path, f"{{bird: {{{SPEAKS}, {PEERS}}}}}")
    assert (spec.program, spec.package, spec.ready) == ("bird", "bird2", Ready(answer=("birdc", "show", "status")))
    text = spec.files["bird.conf"]
    assert BIRD_OSPF in text
    assert BIRD_BGP in text
    assert "filter to_ospf {\n    if source = RTS_DEVICE then accept;\n    reject;\n}\n" in text
    assert "protocol static networks4 {\n    ipv4;\n    route 10.9.0.0/16 unreachable;\n}\n" in text


def test_bird_prefers_a_source_for_each_family_and_watches_links_by_bfd(tmp_path: Path) -> None:
    text = made(tmp_path, f"{{bird: {{{SPEAKS}, {BFD}}}}}").files["bird.conf"]
    assert "interval 50 ms;\n        multiplier 5;" in text
    assert text.count("bfd yes;") == 2
    assert [line.strip() for line in text.splitlines() if "prefsrc" in line] == [
        "krt_prefsrc = 10.0.0.1;",
        "krt_prefsrc = 2001:db8::1;",
    ]


@pytest.mark.parametrize("words", ["", SPEAKS, f"{SPEAKS}, {BFD}", f"{SPEAKS}, {PEERS}"])
def test_birds_own_parser_takes_what_is_made(tmp_path: Path, words: str) -> None:
    text = made(tmp_path, f"{{bird: {{{words}}}}}").files["bird.conf"]
    parsed(tmp_path, "bird.conf", text, "bird", "-p", "-c", "")


@pytest.mark.parametrize("role", ["frr", "bird"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ospf: [eth7]", "node a has no interface eth7"),
        ("ospf: [eth0], passive: [lo]", "lo speaks no OSPF: name it in ospf or ospf6 as well"),
        ("networks: [10.9.0.0/16]", "BGP needs the AS number of this node: give asn"),
        (
            "asn: 1, neighbours: {10.0.0.2: {asn: 2, pasword: x}}",
            "neighbour 10.0.0.2 has no pasword: it has asn, password, source, multihop",
        ),
        ("asn: 1, neighbours: {10.0.0.2: {password: x}}", "neighbour 10.0.0.2 needs its AS number: write asn: NUMBER"),
        ("src: [10.0.0.1, 10.0.0.2]", "src has one address of a family"),
    ],
)
def test_a_routing_daemon_refuses_what_it_would_be_silent_about(tmp_path: Path, role: str, words: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        made(tmp_path, f"{{{role}: {{{words}}}}}")
    assert [each.message for each in caught.value.problems] == [f"role {role}: {message}"]


def test_a_node_without_an_ipv4_address_needs_a_router_id(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="node c has no IPv4 address to be known by: give router_id"):
        specs(tmp_path, "{}", "  c: {services: {frr: }}\n")
