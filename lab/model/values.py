"""The scalars of a topology file: what a name, an address, a MAC, a rate may look like, and the message when it does not."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

Interface4or6 = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address4or6 = ipaddress.IPv4Address | ipaddress.IPv6Address

IFNAMSIZ = 15  # include/uapi/linux/if.h: 16 with the closing NUL
_LAB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\Z")
_DEVICE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.+@-]+\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\Z")
FILE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.@+-]{1,200}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_./=-]+\Z")
_COUNTER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_FEATURE = re.compile(r"[a-z][a-z0-9_]*\Z")
_LISTEN = re.compile(r"(?:tcp|udp)/([0-9]{1,5})\Z", re.ASCII)
_HELD = ("/proc", "/sys", "/dev", "/run/services")  # what every node has of its own, and what its services run in
_SYSCTL = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_@+-]+)*\Z")


def wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    """The one error of this package: a sentence, and what to write instead (shown on a line of its own)."""
    return PydanticCustomError("lab", "{message}", {"message": message, "hint": hint})


def _matches(pattern: re.Pattern[str], what: str, shape: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise wrong(f"{text!r} cannot be the name of {what}", shape)
        return text

    return check


def _device(text: str) -> str:
    if len(text) > IFNAMSIZ:
        raise wrong(f"interface name {text!r} has {len(text)} characters; the kernel allows {IFNAMSIZ}")
    return _matches(_DEVICE, "an interface", "write letters, digits and any of _ . + @ -")(text)


def _mac(text: str) -> str:
    lower = text.lower().replace("-", ":")
    if not _MAC.match(lower):
        raise wrong(f"{text!r} is no MAC address", "write six octets, such as 02:00:00:00:00:01")
    if int(lower[:2], 16) & 1:
        raise wrong(f"{text!r} is a multicast MAC address: no interface can have it", "make the first octet even")
    return lower


def _parsed(parse: Callable[[str], Any], what: str, example: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong(f"{value!r} is no {what}", f"write {example}, in quotes")
        try:
            return parse(value)
        except ValueError as error:
            raise wrong(f"{value!r} is no {what}: {_reason(error, value)}", f"write {example}") from None

    return check


def _reason(error: ValueError, value: str) -> str:
    text = str(error).removeprefix(f"{value!r} ")
    if "does not appear to be" not in text:
        return text
    address, slash, length = value.partition("/")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return f"{address!r} is neither IPv4 nor IPv6" if slash else "neither IPv4 nor IPv6"
    return f"{length!r} is no prefix length of IPv{version}"


def _destination(text: str) -> Network | None:
    """`default` is None: the family comes from the gateway."""
    return None if text == "default" else ipaddress.ip_network(text)


_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}
_LONGEST = 2**32 * 64 // 1000  # microseconds: the kernel counts 32 bits of 64 ns (include/net/pkt_sched.h)
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SLOWEST, _FASTEST = 2_000, (2**32 - 1) * 8  # a packet of 64 KiB within the longest time; 32 bits of octets a second


def _quantity(units: dict[str, int], what: str, example: str, least: int, most: int, span: str) -> Callable[[Any], int]:
    shape = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(units)})\Z")

    def check(value: Any) -> int:
        found = shape.match(value.lower()) if isinstance(value, str) else None
        if not found:
            raise wrong(f"{value!r} is no {what}", f"write a number and a unit, such as {example}")
        amount = float(found[1]) * units[found[2]]
        if not least <= amount <= most:
            raise wrong(f"{value!r} is no {what} that the kernel can keep", f"write one {span}")
        return round(amount)

    return check


def _percent(value: Any) -> float:
    number = value.removesuffix("%") if isinstance(value, str) else value
    try:
        share = float(number)
    except (TypeError, ValueError, OverflowError):
        raise wrong(f"{value!r} is no percentage", "write 1.5% or 1.5") from None
    if isinstance(value, bool) or not 0 <= share <= 100:
        raise wrong(f"{value!r} is no percentage between 0 and 100")
    return share


def _sysctl_value(value: Any) -> str:
    if not isinstance(value, (bool, int, str)):
        raise wrong(f"{value!r} cannot be written to a sysctl", "write a number or a string")
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if "\n" in text or "\0" in text:
        raise wrong("a sysctl's value is one line")
    return text


def _sysctl_key(text: str) -> str:
    if not _SYSCTL.match(text):
        raise wrong(f"{text!r} is no sysctl name", "write it as sysctl(8) does, such as net.ipv4.conf.all.rp_filter")
    if not text.replace("/", ".").startswith("net."):
        raise wrong(f"sysctl {text} does not belong to a network namespace: it would change the host", "only net.* can be set")
    return text


def _device_sysctl_key(text: str) -> str:
    if not re.match(r"ipv[46]\.(neigh\.)?[a-z0-9_]+\Z", text):
        raise wrong(
            f"{text!r} is no sysctl of an interface",
            "write ipv4.KEY or ipv6.KEY for net.ipv4.conf.DEVICE.KEY, ipv4.neigh.KEY for net.ipv4.neigh.DEVICE.KEY",
        )
    return text


def _word(value: Any) -> str:
    """Of a command, or a value of its environment."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise wrong(f"{_brief(value)} is no word of a command", "write a text, in quotes where YAML reads something else")
    text = str(value)
    if "\0" in text:
        raise wrong("a NUL byte cannot stand in a word")
    return text


def _argv(value: Any) -> Any:
    if isinstance(value, str):
        raise wrong(f"{_brief(value)}: a command is a list of words", f"no shell reads it: write {_split(value)}")
    if not isinstance(value, (list, tuple)):
        raise wrong(f"{_brief(value)}: a command is a list of words", "such as [sleep, infinity]")
    if not value or value[0] == "":
        raise wrong("a command has at least the name of a program", "such as [sleep, infinity]")
    return tuple(value)


def _split(text: str) -> str:
    words = text.split()
    plain = 0 < len(words) < 8 and all(_PLAIN.match(word) for word in words)
    return f"[{', '.join(words)}]" if plain else "[program, argument, …]"


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def listener(text: str) -> str:
    """`tcp/PORT` or `udp/PORT`."""
    found = _LISTEN.match(text)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise wrong(f"{text!r} is no port to listen at", "write tcp/PORT or udp/PORT, such as tcp/80")
    return text


def expression(text: str) -> str:
    """A regular expression that compiles."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise wrong(f"{_brief(text)} is no regular expression: {error}", "a backslash takes a sign as it is") from None
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise wrong(f"{_brief(text)} is no path")
    return text


def _directory(text: str) -> str:
    if not text.startswith("/") or posixpath.normpath(text) != text or "\0" in text or text.startswith("//"):
        raise wrong(f"{_brief(text)} is no absolute path in its shortest form", "write it as /var/lib/NAME, without . and ..")
    if text in ("/", "/run") or any(text == held or text.startswith(f"{held}/") for held in _HELD):
        raise wrong(f"{text} cannot be an empty directory of a service's own", "name one that the program writes to")
    return text


def _text(schema: dict[str, Any] | None = None) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **(schema or {})})


_WORD_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "number"}]}

snmp_counter = _matches(_COUNTER, "a counter", "write it as nstat(8) does, such as Icmp6OutRouterAdvertisements")

LabName = Annotated[
    str, AfterValidator(_matches(_LAB, "a lab", "write up to 32 letters, digits, _ or -, a letter or digit first"))
]
NodeName = Annotated[
    str, AfterValidator(_matches(_NODE, "a node", "write up to 63 letters, digits, _ or -, none of them - at the start"))
]
DeviceName = Annotated[str, AfterValidator(_device)]
Mac = Annotated[str, AfterValidator(_mac)]
Prefixed = Annotated[Interface4or6, BeforeValidator(_parsed(ipaddress.ip_interface, "address", "ADDRESS/LENGTH")), _text()]
IPAddress = Annotated[Address4or6, BeforeValidator(_parsed(ipaddress.ip_address, "address", "an address")), _text()]
IPNetwork = Annotated[Network, BeforeValidator(_parsed(ipaddress.ip_network, "prefix", "PREFIX/LENGTH")), _text()]
Destination = Annotated[
    Network | None, BeforeValidator(_parsed(_destination, "destination", "PREFIX/LENGTH or default")), _text()
]
Microseconds = Annotated[
    int, BeforeValidator(_quantity(_UNITS, "time", "10ms", 0, _LONGEST, "of 274s at most")), _text({"examples": ["10ms"]})
]
BitsPerSecond = Annotated[
    int,
    BeforeValidator(_quantity(_RATES, "rate", "100mbit", _SLOWEST, _FASTEST, "from 2kbit to 34gbit")),
    _text({"examples": ["10mbit"]}),
]
Percent = Annotated[float, BeforeValidator(_percent), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})]
SysctlValue = Annotated[
    str,
    BeforeValidator(_sysctl_value),
    WithJsonSchema({"anyOf": [{"type": t} for t in ("integer", "boolean", "string")]}),
]
SysctlKey = Annotated[str, AfterValidator(_sysctl_key)]


def _up_to(most: int, what: str) -> Callable[[str], str]:
    """A key that is a number: the keys of a mapping are text."""

    def check(text: str) -> str:
        plain = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
        if not plain or str(int(text)) != text or int(text) > most:
            raise wrong(f"{text!r} is no {what}", f"write a number from 0 to {most}")
        return text

    return check


PCP_MOST, PRIORITY_MOST = 7, 2**32 - 1  # the three bits of IEEE 802.1Q, and skb->priority
PcpKey = Annotated[str, AfterValidator(_up_to(PCP_MOST, "priority of a VLAN tag"))]
PriorityKey = Annotated[str, AfterValidator(_up_to(PRIORITY_MOST, "priority of a packet"))]
DeviceSysctlKey = Annotated[str, AfterValidator(_device_sysctl_key)]
ServiceName = Annotated[
    str, AfterValidator(_matches(_SERVICE, "a service", "write up to 63 letters, digits, _ or -, none of them - at the start"))
]
RoleName = Annotated[
    str, AfterValidator(_matches(_SERVICE, "a role", "write up to 63 letters, digits, _ or -, none of them - at the start"))
]
FileName = Annotated[
    str, AfterValidator(_matches(FILE, "a file of a service", "write letters, digits and any of _ . @ + -, and no folder"))
]
VariableName = Annotated[
    str, AfterValidator(_matches(_VARIABLE, "an environment variable", "write letters, digits and _, no digit first"))
]
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema(_WORD_SCHEMA)]
Argv = Annotated[
    tuple[Word, ...], BeforeValidator(_argv), WithJsonSchema({"type": "array", "minItems": 1, "items": _WORD_SCHEMA})
]
Listener = Annotated[str, AfterValidator(listener), _text({"examples": ["tcp/80", "udp/53"]})]
Expression = Annotated[str, AfterValidator(expression), _text({"format": "regex"})]
NodePath = Annotated[str, AfterValidator(_path)]
Directory = Annotated[str, AfterValidator(_directory), _text({"pattern": "^/"})]
FeatureName = Annotated[
    str, AfterValidator(_matches(_FEATURE, "a feature of the kernel", "lab doctor names them, such as bond or nfsd"))
]
Counter = Annotated[str, AfterValidator(snmp_counter)]
