"""Names of sysctls; imports nothing of ours."""

from __future__ import annotations

PER_DEVICE = ("conf", "neigh")


def sysctl_parts(key: str) -> tuple[str, ...]:
    """A sysctl's name as its path below /proc/sys; dots of a device's name are kept, as in net.ipv4.conf.eth0.7.rp_filter.

    Slashes may be written instead of dots (sysctl(8)) and then alone part the name."""
    if "/" in key:
        return tuple(key.split("/"))
    parts = key.split(".")
    if len(parts) > 5 and parts[2] in PER_DEVICE:
        return (*parts[:3], ".".join(parts[3:-1]), parts[-1])
    return tuple(parts)
