"""The first bytes of a packet -> who, to whom, and one line. Pure, and quick enough for every packet of a failed check."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
NAMES = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMP6: "ICMPv6", 2: "IGMP", 47: "GRE", 50: "ESP", 89: "OSPF", 112: "VRRP"}
_ETHERTYPES = {ARP: "ARP", VLAN: "VLAN (802.1Q)", 0x88CC: "LLDP", 0x8863: "PPPoE", 0x8847: "MPLS"}
_FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"))
_EXTENSIONS = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options: all with a length in words of 8 bytes
_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply"}
_ICMP6 |= {130: "listener query", 133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation"}
_ICMP6 |= {136: "neighbour advertisement", 143: "listener report"}
SIGNATURE = 19  # the TCP option of RFC 2385


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a packet. Addresses are empty and numbers -1 where the packet has none, or not enough of it was kept;
    `protocol` is that above IP, `kind` ICMP's type, `checksum` UDP's, `hops` TTL or hop limit, `target` the destination's MAC
    address. `line` is the packet in one line."""

    ethertype: int
    line: str
    source: str = ""
    destination: str = ""
    protocol: int = -1
    sport: int = -1
    dport: int = -1
    kind: int = -1
    checksum: int = -1
    hops: int = -1
    target: str = ""

    @property
    def version6(self) -> bool:
        return self.ethertype == IPV6

    @property
    def to_many(self) -> bool:
        """A multicast or a broadcast: by its address, or by its frame's."""
        if self.destination and ipaddress.ip_address(self.destination).is_multicast:
            return True
        return self.destination == "255.255.255.255" or (self.target != "" and bool(int(self.target[:2], 16) & 1))

    @property
    def name(self) -> str:
        """Of the protocol above IP."""
        return NAMES.get(self.protocol, f"protocol {self.protocol}")


def facts(ethertype: int, mac: bytes, packet: bytes) -> Facts:
    """`mac` is the Ethernet header or nothing, `packet` what follows it, cut anywhere."""
    target = mac[:6].hex(":")
    if ethertype == IPV4 and len(packet) >= 20 and packet[0] >> 4 == 4:
        source, destination = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16))
        later = int.from_bytes(packet[6:8]) & 0x1FFF  # the offset of a fragment that is not the first
        above = b"" if later else packet[(packet[0] & 0xF) * 4 :]
        return _above(ethertype, target, source, destination, packet[9], packet[8], above)
    if ethertype == IPV6 and len(packet) >= 40 and packet[0] >> 4 == 6:
        source, destination = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
        protocol, above = _behind_extensions(packet[6], packet[40:])
        return _above(ethertype, target, source, destination, protocol, packet[7], above)
    if ethertype == ARP and len(packet) >= 28:
        return _arp(target, packet)
    return Facts(ethertype, f"a frame of {_ETHERTYPES.get(ethertype, f'EtherType {ethertype:#06x}')}", target=target)


def _behind_extensions(protocol: int, rest: bytes) -> tuple[int, bytes]:
    while protocol in _EXTENSIONS and len(rest) >= 8:
        protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    return protocol, rest


def _above(ethertype: int, target: str, source: str, destination: str, protocol: int, hops: int, above: bytes) -> Facts:
    if protocol in (TCP, UDP) and len(above) >= 8:
        sport, dport = struct.unpack_from("!HH", above)
        said = f"TCP {_tcp(above)}" if protocol == TCP else f"UDP, {max(struct.unpack_from('!H', above, 4)[0] - 8, 0)} bytes"
        checksum = int.from_bytes(above[6:8]) if protocol == UDP else -1
        line = f"{_with_port(source, sport)} > {_with_port(destination, dport)} {said}"
        return Facts(ethertype, line, source, destination, protocol, sport, dport, -1, checksum, hops, target)
    kind = above[0] if protocol in (ICMP, ICMP6) and above else -1
    what = (_ICMP if protocol == ICMP else _ICMP6).get(kind, f"type {kind}") if kind >= 0 else ""
    line = f"{source} > {destination} {NAMES.get(protocol, f'protocol {protocol}')}{what and ' '}{what}"
    return Facts(ethertype, line, source, destination, protocol, kind=kind, hops=hops, target=target)


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _tcp(header: bytes) -> str:
    if len(header) < 20:
        return "cut"
    flags = "-".join(name for bit, name in _FLAGS if header[13] & bit) or "without flags"
    signed = ", signed (MD5)" if _has_option(header[20 : (header[12] >> 4) * 4], SIGNATURE) else ""
    return f"{flags}{signed}"


def _has_option(options: bytes, wanted: int) -> bool:
    at = 0
    while at + 1 < len(options) and options[at] != 0:
        if options[at] == wanted:
            return True
        at += 1 if options[at] == 1 else max(options[at + 1], 2)
    return False


def _arp(target: str, packet: bytes) -> Facts:
    sender, asked = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (14, 24))
    question = int.from_bytes(packet[6:8]) == 1
    said = f"ARP who has {asked}? tell {sender}" if question else f"ARP {sender} is at {packet[8:14].hex(':')}"
    return Facts(ARP, said, sender, asked, target=target)
