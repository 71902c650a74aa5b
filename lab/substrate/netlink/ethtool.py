"""Offloads of a device through the ethtool family of generic netlink (Documentation/networking/ethtool-netlink.rst)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping
from fnmatch import fnmatch

from pyroute2.netlink import NETLINK_GENERIC, NLM_F_REQUEST, ctrlmsg, genlmsg
from pyroute2.netlink.generic.ethtool import (
    ETHTOOL_MSG_FEATURES_GET,
    ETHTOOL_MSG_FEATURES_SET,
    ethtoolbitset,
    ethtoolheader,
)

from lab.substrate.netlink import batch

_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY = 16, 3
# What ethtool(8)'s short names stand for, by pattern: which features a group holds differs from kernel to kernel.
GROUPS: Mapping[str, str] = {
    "rx": "rx-checksum",
    "tx": "tx-checksum-*",
    "sg": "tx-scatter-gather*",
    "tso": "tx-tcp*-segmentation",
    "gso": "tx-generic-segmentation",
    "gro": "rx-gro",
    "lro": "rx-lro",
    "rxvlan": "rx-vlan-hw-parse",
    "txvlan": "tx-vlan-hw-insert",
    "rxhash": "rx-hashing",
}


class _Features(genlmsg):  # type: ignore[misc] # pyroute2 has no types
    nla_map = (
        ("ETHTOOL_A_FEATURES_UNSPEC", "none"),
        ("ETHTOOL_A_FEATURES_HEADER", "ethtoolheader"),
        ("ETHTOOL_A_FEATURES_HW", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_WANTED", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_ACTIVE", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_NOCHANGE", "ethtoolbitset"),
    )
    ethtoolheader = ethtoolheader
    ethtoolbitset = ethtoolbitset


def set_offloads(index: int, offloads: Mapping[str, bool]) -> None:
    """Switches offloads of the device of the calling thread's namespace on or off: ethtool(8)'s groups, or features by the
    kernel's names. Raises OSError: EOPNOTSUPP where the device cannot have what was asked, or the kernel's own errno."""
    with batch.open_socket(NETLINK_GENERIC) as sock:
        family = _family(sock)
        changeable = _names(_ask(sock, _get(family, index), _Features), "ETHTOOL_A_FEATURES_HW")
        wished = {feature: on for name, on in offloads.items() for feature in _features(name, on, changeable)}
        if wished:
            refused = _names(_ask(sock, _set(family, index, wished), _Features), "ETHTOOL_A_FEATURES_WANTED")
            if refused:
                raise OSError(errno.EOPNOTSUPP, "not supported", f"the device does not let change {', '.join(sorted(refused))}")


def _features(name: str, on: bool, changeable: Collection[str]) -> list[str]:
    """What of a group is not there cannot be switched on, and need not be off; other names are the kernel's to judge."""
    if name not in GROUPS:
        return [name]
    found = [feature for feature in changeable if fnmatch(feature, GROUPS[name])]
    if on and not found:
        raise OSError(errno.EOPNOTSUPP, "not supported", f"the device cannot have {name} on")
    return found


def _get(family: int, index: int) -> genlmsg:
    return _message(family, ETHTOOL_MSG_FEATURES_GET, index, [])


def _set(family: int, index: int, wished: Mapping[str, bool]) -> genlmsg:
    bits = [
        (
            "ETHTOOL_A_BITSET_BITS_BIT",
            {"attrs": [("ETHTOOL_A_BITSET_BIT_NAME", name), *([("ETHTOOL_A_BITSET_BIT_VALUE", True)] if on else [])]},
        )
        for name, on in wished.items()
    ]
    wanted = ("ETHTOOL_A_FEATURES_WANTED", {"attrs": [("ETHTOOL_A_BITSET_BITS", {"attrs": bits})]})
    return _message(family, ETHTOOL_MSG_FEATURES_SET, index, [wanted])


def _message(family: int, command: int, index: int, attributes: list[object]) -> genlmsg:
    message = _Features()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [("ETHTOOL_A_FEATURES_HEADER", {"attrs": [("ETHTOOL_A_HEADER_DEV_INDEX", index)]}), *attributes]
    message["header"]["type"] = family
    return message


def _ask(sock: socket.socket, message: genlmsg, answer: type[genlmsg]) -> genlmsg:
    message["header"]["flags"] = NLM_F_REQUEST
    message.encode()
    sock.send(message.data)
    data = sock.recv(1 << 16)
    refusal = batch.refusal(data)
    if refusal:
        raise OSError(refusal.code, "ethtool", f"the kernel says: {refusal.extack}" if refusal.extack else None)
    decoded = answer(data)
    decoded.decode()
    return decoded


def _family(sock: socket.socket) -> int:
    message = ctrlmsg()
    message["cmd"], message["version"] = _CTRL_CMD_GETFAMILY, 1
    message["attrs"] = [("CTRL_ATTR_FAMILY_NAME", "ethtool")]
    message["header"]["type"] = _GENL_ID_CTRL
    return int(_ask(sock, message, ctrlmsg).get_attr("CTRL_ATTR_FAMILY_ID"))


def _names(answer: genlmsg, attribute: str) -> set[str]:
    """The features in a verbose bit set. In the answer to a change, WANTED has those whose wish and outcome differ."""
    bitset = answer.get_attr(attribute)
    bits = bitset.get_attr("ETHTOOL_A_BITSET_BITS") if bitset else None
    found = bits.get_attrs("ETHTOOL_A_BITSET_BITS_BIT") if bits else ()
    return {str(bit.get_attr("ETHTOOL_A_BITSET_BIT_NAME")) for bit in found}
