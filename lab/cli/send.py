"""The command `send`: frames of one's own out of an interface of a living lab, and what came back."""

from __future__ import annotations

import binascii
import contextlib
import errno
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.node import Node
    from lab.observe.frames import Address, Ends, Tag
    from lab.observe.wire import Packet, Wire

NOTHING_CAME = 1
_MOST = 1000
_HINTS = {
    errno.ENODEV: "see what there is: lab inspect LAB",
    errno.ENETDOWN: "raise it first: lab exec LAB NODE -- ip link set INTERFACE up",
    errno.EMSGSIZE: "the frame is larger than the interface's MTU",
}
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}\Z", re.IGNORECASE)
_TO_PORT = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})\Z")


def _address(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no address") from None


def _address4(context: click.Context, parameter: click.Parameter, text: str | None) -> Address | None:
    address = _address(context, parameter, text)
    if address is not None and address.version == 6:
        raise click.BadParameter("ARP asks for IPv4 addresses")
    return address


def _mac(text: str) -> str:
    if not _MAC.match(text):
        raise click.BadParameter(f"{text!r} is no MAC address")
    return text.lower().replace("-", ":")


def _destination(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    return None if text is None else _mac(text)


def _sources(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str | None, Address | None]:
    """At most one MAC address, and at most one address."""
    macs = [_mac(text) for text in texts if _MAC.match(text)]
    addresses = [_address(context, parameter, text) for text in texts if not _MAC.match(text)]
    if len(macs) > 1 or len(addresses) > 1:
        raise click.BadParameter("a frame comes from one MAC address and one address")
    return next(iter(macs), None), next(iter(addresses), None)


def _to_port(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[Address, int] | None:
    if text is None:
        return None
    found = _TO_PORT.match(text)
    address = _address(context, parameter, found["six"] or found["four"]) if found else None
    if not found or address is None or not 1 <= int(found["port"]) <= 65535:
        raise click.BadParameter(f"{text!r} is no ADDRESS:PORT, such as 10.0.0.2:53 or [2001:db8::2]:53")
    return address, int(found["port"])


def _octets(_context: click.Context, _parameter: click.Parameter, text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return binascii.unhexlify(re.sub(r"[\s:]", "", text))
    except (binascii.Error, ValueError):
        raise click.BadParameter("a frame is written in hexadecimal digits, two for each octet") from None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What shall be sent: one of the four, with its tags and ends as far as they were said."""

    arp: Address | None
    icmp: Address | None
    udp: tuple[Address, int] | None
    raw: bytes | None
    tags: Sequence[Tag]
    source: str | None
    address: Address | None
    destination: str | None

    @property
    def to(self) -> Address | None:
        return self.arp or self.icmp or (self.udp[0] if self.udp else None)

    def frame(self, ends: Ends, number: int) -> Any:
        from lab.observe import frames

        if self.raw is not None:
            try:
                return frames.raw(self.raw, self.source, self.destination, self.tags)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
        if self.arp:
            return frames.arp(ends, self.tags)
        return frames.udp(ends, self.udp[1], self.tags) if self.udp else frames.echo(ends, self.tags, number)


@click.command()
@click.argument("lab")
@click.argument("where", metavar="NODE:INTERFACE")
@click.option("--arp", callback=_address4, metavar="ADDRESS", help="An ARP request for an IPv4 address.")
@click.option("--icmp", callback=_address, metavar="ADDRESS", help="An echo request, of either family.")
@click.option("--udp", callback=_to_port, metavar="ADDRESS:PORT", help="A datagram; IPv6 as [ADDRESS]:PORT.")
@click.option("--raw", callback=_octets, metavar="HEX", help="A whole frame, octet by octet.")
@click.option("--vlan", type=click.IntRange(0, 4095), multiple=True, metavar="ID", help="A VLAN tag; again for one inside.")
@click.option("--prio", type=click.IntRange(0, 7), multiple=True, metavar="0-7", help="The priority of the tag, or of each.")
@click.option("--src", callback=_sources, multiple=True, metavar="FROM", help="A MAC address, an address, or both by turns.")
@click.option("--dst", callback=_destination, metavar="MAC", help="To whom on the link.")
@click.option("-c", "--count", type=click.IntRange(1, _MOST), default=1, metavar="N", help="So many frames, at once.")
@click.option("--wait", "within", type=click.FloatRange(0, 3600, min_open=True), metavar="SECONDS", help="For answers.")
@common
@settings
def send(settings: Settings, /, lab: str, where: str, within: float | None, count: int, **wished: Any) -> int:
    """Send frames of your own out of an interface.

    The frame goes out as it is, past the node's own network stack: so a host can send VLAN tags without a VLAN device.
    Who says nothing sends from the interface's own MAC address and first address, to the neighbour's MAC address where
    the node knows it, else to everybody. Of several tags the outermost comes first, and all but the last are service
    tags (802.1ad). What was sent is printed; with --wait also what answered, as soon as every frame has its answer.

    \b
    Exit status:
      0  sent, and with --wait answered      1  no answer came in time
      2  the call is wrong                   3  the interface does not send

    \b
    Example:
      lab send monday client:eth0 --arp 10.0.0.2 --vlan 7 --prio 5 --wait 1
      lab send monday client:eth0 --icmp 2001:db8::2 --src 2001:db8::99 -c 3
      lab send monday client:eth0 --udp 10.0.0.2:53 --vlan 100 --vlan 7
      lab send monday client:eth0 --raw 'ffffffffffff 020000000001 88b5 00'

    See also: lab capture, lab exec
    """
    from lab import host, live

    wish = _wish(**wished)
    host.require_root()
    found = live.Lab.attach(lab)
    (interface,) = found.interfaces(where)
    node = found[interface.node]
    ends = _ends(node, interface.device, wish)
    sent = [wish.frame(ends, number) for number in range(1, count + 1)]
    with found.capture(where) if within else contextlib.nullcontext() as wire:
        _send(node, interface.device, sent)
        received = _answers(wire, sent, within) if wire and within else []
    settings.decided()
    _tell(settings, where, sent, received, within)
    return NOTHING_CAME if within and not received else 0


def _wish(
    *,
    vlan: tuple[int, ...],
    prio: tuple[int, ...],
    src: tuple[str | None, Address | None],
    dst: str | None,
    **kinds: Any,
) -> _Wish:
    if sum(value is not None for value in kinds.values()) != 1:
        raise click.UsageError("say what to send: one of --arp, --icmp, --udp and --raw")
    if len(prio) > max(len(vlan), 0) or (len(prio) > 1 and len(prio) != len(vlan)):
        raise click.UsageError("--prio belongs to a --vlan: give one for all of them, or one for each")
    priorities = prio if len(prio) == len(vlan) else (prio or (0,)) * len(vlan)
    wish = _Wish(**kinds, tags=tuple(zip(vlan, priorities, strict=True)), source=src[0], address=src[1], destination=dst)
    if wish.address and wish.to and wish.address.version != wish.to.version:
        raise click.UsageError(f"{wish.address} and {wish.to} are of different families")
    return wish


# -- from where to where


def _ends(node: Node, device: str, wish: _Wish) -> Ends:
    """Raises HostError where the interface does not exist, TopologyError where it has no address of the family."""
    from lab.observe.frames import Ends

    own = _of_host(f"{node.name}:{device}", node.mac, device)
    address = wish.address or (_own_address(node, device, wish) if wish.to else None)
    return Ends(wish.source or own, wish.destination or _mac_of(node, wish), address, wish.to)


def _own_address(node: Node, device: str, wish: _Wish) -> Address | None:
    """The first of the device; for IPv6 one of the scope that is asked. An ARP request does without."""
    from lab.errors import TopologyError
    from lab.observe import tables

    held = node.inside(lambda: [each.address for each in tables.addresses() if each.device == device])
    same = [each for each in held if wish.to and each.version == wish.to.version]
    near = [each for each in same if wish.to and each.is_link_local == wish.to.is_link_local]
    for address in (*near, *same):
        return address
    if wish.arp:
        return None
    said = f"{node.name}:{device} has no IPv{wish.to.version if wish.to else 4} address to send from"
    raise TopologyError(said, "say one: --src ADDRESS")


def _mac_of(node: Node, wish: _Wish) -> str:
    from lab.observe import tables
    from lab.observe.frames import BROADCAST

    if wish.arp or wish.to is None:
        return BROADCAST
    if wish.to.is_multicast:
        low = wish.to.packed
        return bytes((0x33, 0x33, *low[-4:]) if wish.to.version == 6 else (1, 0, 0x5E, low[1] & 0x7F, *low[2:])).hex(":")
    entry = node.inside(tables.neighbour, str(wish.to))
    return (entry.mac if entry else "") or BROADCAST


# -- sending, and what comes back


def _send(node: Node, device: str, frames: Sequence[Any]) -> None:
    for frame in frames:
        _of_host(f"{node.name}:{device}", node.send, device, bytes(frame))


def _of_host(where: str, do: Callable[..., Any], *args: Any) -> Any:
    from lab.errors import HostError

    try:
        return do(*args)
    except OSError as error:
        raise HostError(f"{where}: {error.strerror}", _HINTS.get(error.errno or 0)) from error


def _answers(wire: Wire, sent: Sequence[Any], within: float) -> list[Packet]:
    """What answers any of them; waited for until each has its answer."""
    from lab.observe import frames
    from lab.observe.wire import WireError

    def one_of(these: Sequence[Any]) -> Callable[[Packet], bool]:
        return lambda packet: not packet.frame.sent and any(frames.answers(packet.whole, each) for each in these)

    with contextlib.suppress(WireError):
        wire.expect_in_order(*[(one_of(sent), "an answer")] * len(sent), within=within)
    return wire.all(one_of(sent))


def _tell(settings: Settings, where: str, sent: Sequence[Any], received: Sequence[Packet], within: float | None) -> None:
    from lab.observe.frames import in_words

    answers = [packet.whole for packet in received]
    if settings.json:
        told = {key: [_frame(each) for each in frames] for key, frames in (("sent", sent), ("received", answers))}
        envelope("frames", {"interface": where, **told})
        return
    if settings.verbosity >= 0:
        for each in sent:
            print(f"{where} sends {in_words(each)}")
        for each in answers:
            print(f"{where} receives {in_words(each)}")
    if within and not received:
        say(f"lab: nothing answered within {within:g} s")


def _frame(frame: Any) -> dict[str, Any]:
    from lab.observe.frames import in_words, tags_of

    tags = [{"vlan": vlan, "priority": priority} for vlan, priority in tags_of(frame)]
    return {"summary": in_words(frame), "tags": tags, "frame": bytes(frame).hex()}


COMMANDS: tuple[Any, ...] = (send,)
