"""What one rendering may cost; read by both sides of the process boundary, and reached as `limits.NAME`."""

import os

_PACE = 6 if os.environ.get("LAB_GUEST") else 1  # where the processor is emulated everything takes so much longer

DEADLINE = 5.0 * _PACE  # seconds of wall time
GRACE = 1.0  # seconds more, in which a child that ran out of time says at which line
CPU = 8 * _PACE  # seconds of processor time: the kernel's own end for a renderer that nobody watches any more
MEMORY = 512 << 20  # bytes of address space
OUTPUT = 8 << 20  # characters
MARKED_OUTPUT = 4 * OUTPUT  # the same with the marks that places need
ANSWER = 64 << 20  # bytes that carry it: characters take up to six each, but not all at once
NUMBER = 4096  # bits of a product or a power; an IPv6 address needs 128
