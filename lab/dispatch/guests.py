"""The two questions that are asked of `lab.guest`: run a command in one, and what would carry it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.kernels import Kernel


def run(
    kernel: Kernel,
    argv: Sequence[str],
    results: Sequence[Path],
    env: Mapping[str, str] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> int:
    """The exit status of `lab ARGV` in a guest, which may write `results`. Raises HostError where it does not boot or live."""
    from lab import guest

    return guest.run(kernel, argv, report=results, env=env, tell=tell)


def substrate(kernel: Kernel) -> str:
    """kvm, tcg or uml."""
    from lab.guest import choose

    return choose.substrates(kernel, choose.Wishes())[0].value
