"""What one rendering may cost; read by both sides of the process boundary, and reached as `limits.NAME`."""

DEADLINE = 5.0  # seconds of processor time
GRACE = 25.0  # seconds of wall time more, in which a child on a busy machine comes to its end and says at which line
CPU = 8  # seconds of processor time: the kernel's own end for a renderer that nobody watches any more
MEMORY = 512 << 20  # bytes of address space
OUTPUT = 8 << 20  # characters
MARKED_OUTPUT = 4 * OUTPUT  # the same with the marks that places need
ANSWER = 64 << 20  # bytes that carry it: characters take up to six each, but not all at once
NUMBER = 4096  # bits of a product or a power; an IPv6 address needs 128
