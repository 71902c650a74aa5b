"""Which fetched kernel the checks go to that cannot be made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lab.errors import HostError
from lab.kernels import DEFAULT, Kernel, names, store


def candidates() -> list[Kernel]:
    """Fetched kernels in the order in which they are asked: User-mode Linux, which boots in the least time; the default one;
    then the others, the newest first."""
    fetched = [each.kernel for each in store.fetched()]
    default = names.read(DEFAULT)

    def rank(kernel: Kernel) -> int:
        return 0 if kernel.flavour == "uml" else 1 if default.fits(kernel.flavour, kernel.release) else 2

    return sorted(fetched, key=rank)


def suits(needs: Iterable[str], features: frozenset[str]) -> bool:
    """Whether a kernel has all of `needs`, of which `a or b` is one."""
    return all(not features.isdisjoint(need.split(" or ")) for need in needs)


def best(
    needs: Mapping[str, frozenset[str]], kernels: Sequence[Kernel], features: Callable[[Kernel], frozenset[str]]
) -> tuple[Kernel | None, frozenset[str], list[str]]:
    """The first kernel that serves all, or the first of those that serve most; whom it serves; and why kernels could not be
    asked. `needs`: by any key what each check needs."""
    found: tuple[Kernel | None, frozenset[str]] = (None, frozenset())
    troubles = []
    for kernel in kernels:
        try:
            has = features(kernel)
        except HostError as error:
            troubles.append(f"kernel {kernel.name}: {error}")
            continue
        served = frozenset(key for key, wanted in needs.items() if suits(wanted, has))
        if len(served) > len(found[1]):
            found = kernel, served
        if len(served) == len(needs):
            break
    return *found, troubles
