"""TCP's MD5 signature computed from frames, against digests of bytes that were laid out by hand."""

from __future__ import annotations

import hashlib

import pytest

from lab.observe.rfc2385 import ACK, KIND, MSS, NO_OPERATION, SYN, Segment

ETHERNET4, ETHERNET6 = "020000000002 020000000001 0800", "020000000002 020000000001 86dd"
# 10.0.0.1 -> 10.0.0.2, 60 bytes altogether, of which 40 are TCP's
IP4 = "45 00 003c 1234 4000 40 06 0000 0a000001 0a000002"
IP6 = "60000000 002b 06 40 20010db8000000000000000000000001 20010db8000000000000000000000002"
# 40000 -> 179, SYN, data offset 10 words, window 64240; the checksum is not 0 and must not count
SYN_HEADER = "9c40 00b3 00000001 00000000 a0 02 faf0 beef 0000"
# option 19, its digest, and two bytes that fill up
SIGNATURE = "13 12 {digest} 01 01"
# 40000 -> 179, ACK and PSH
DATA_HEADER = "9c40 00b3 00000002 00000009 a0 18 01f6 cafe 0000"
# md5 of: addresses, zero and protocol, length of the segment, the header with checksum 0, the data, the key. By md5sum(1):
#   printf '0a0000010a000002000600289c4000b30000000100000000a002faf000000000736563726574' | xxd -r -p | md5sum
SYN_DIGEST = "9d224eae68092a751cf2d1b9c1fc0b18"
#   printf '20010db800…0120010db800…020000002b000000069c4000b30000000200000009a01801f600000000' '616263' '736563726574' | …
DATA_DIGEST = "e7f73b3a82a97e0046f4c117bc05ab64"
KEY = b"secret"


def frame(*parts: str) -> bytes:
    return bytes.fromhex(" ".join(parts))


def signed_syn(digest: str = SYN_DIGEST) -> bytes:
    return frame(ETHERNET4, IP4, SYN_HEADER, SIGNATURE.format(digest=digest))


def signed_data() -> bytes:
    return frame(ETHERNET6, IP6, DATA_HEADER, SIGNATURE.format(digest=DATA_DIGEST), "616263")


def test_a_syn_over_ipv4_is_signed_as_the_rfc_says() -> None:
    segment = Segment.of(signed_syn())
    assert segment.digest(KEY).hex() == SYN_DIGEST
    assert segment.is_signed_with(KEY)
    assert (segment.ports, segment.flags, segment.after, segment.payload) == ((40000, 179), SYN, 2, b"")


def test_data_over_ipv6_is_signed_with_the_pseudo_header_of_ipv6() -> None:
    segment = Segment.of(signed_data())
    assert segment.digest(KEY).hex() == DATA_DIGEST
    assert segment.is_signed_with(KEY)
    assert (segment.flags & ACK, segment.payload, segment.after) == (ACK, b"abc", 5)


def test_the_digests_are_those_of_the_concatenated_parts() -> None:
    """The same two vectors, once more from their parts: what md5sum(1) was given."""
    syn = "0a000001 0a000002 0006 0028" + "9c40 00b3 00000001 00000000 a0 02 faf0 0000 0000"
    assert hashlib.md5(bytes.fromhex(syn) + KEY).hexdigest() == SYN_DIGEST
    data = "20010db8000000000000000000000001 20010db8000000000000000000000002 0000002b 000000 06"
    data += "9c40 00b3 00000002 00000009 a0 18 01f6 0000 0000" + "616263"
    assert hashlib.md5(bytes.fromhex(data) + KEY).hexdigest() == DATA_DIGEST


@pytest.mark.parametrize("key", [b"", b"secreT", b"secret\0"])
def test_another_key_makes_another_digest(key: bytes) -> None:
    assert not Segment.of(signed_syn()).is_signed_with(key)


@pytest.mark.parametrize("at", [26, 33, 35, 37, 41, 46, 47, 49])
def test_every_part_that_is_signed_counts(at: int) -> None:
    """A changed address, port, sequence or acknowledgement number, offset, flag or window."""
    changed = bytearray(signed_syn())
    changed[at] ^= 0x80 if at == 46 else 1
    if at == 46:
        changed[46] = 0xA0 | 1  # a bit that is reserved, beside the same offset
    assert not Segment.of(bytes(changed)).is_signed_with(KEY)


def test_the_checksum_the_options_and_what_fills_the_frame_do_not_count() -> None:
    changed = bytearray(signed_syn() + bytes(6))
    changed[50:52] = b"\x12\x34"
    changed[-7] = 0x00  # end of options where no operation was
    assert Segment.of(bytes(changed)).is_signed_with(KEY)


def test_options_are_told_by_their_kinds() -> None:
    options = "02 04 05b4 01 03 03 07 04 02"
    header = "9c40 00b3 00000001 00000000 80 02 faf0 0000 0000"
    ip = IP4.replace("003c", "0034")
    segment = Segment.of(frame(ETHERNET4, ip, header, options, "00 00"))
    assert segment.kinds == (MSS, 3, 4)
    assert NO_OPERATION in {kind for kind, _ in segment.options}
    assert segment.option(MSS) == b"\x05\xb4"
    assert segment.option(KIND) is None
    assert not segment.is_signed_with(KEY)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (frame(ETHERNET4.replace("0800", "0806")) + bytes(40), "no TCP"),
        (frame(ETHERNET4, IP4.replace("40 06", "40 11")) + bytes(40), "no TCP"),
        (frame(ETHERNET4, IP4.replace("003c", "0020"), SYN_HEADER[:34]), "header that is cut"),
        (frame(ETHERNET4, IP4, SYN_HEADER), "header that is cut"),
        (signed_syn()[:-20] + b"\x13" + b"\x01" * 19, "option that is cut"),
        (signed_syn()[:-20] + b"\x13\x15" + b"\x01" * 18, "option that is cut"),
        (signed_syn()[:-20] + b"\x01" * 19 + b"\x13", "option that is cut"),
        (b"", "no TCP"),
    ],
)
def test_what_is_no_whole_segment_is_refused(bad: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Segment.of(bad)
