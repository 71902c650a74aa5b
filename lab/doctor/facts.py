"""What is known about a host, as values: `gather` makes them, `judge` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.substrate.features import Answer

Trial = Mapping[str, int]
"""Step of lab.doctor.trial -> errno, 0 where it worked; empty where it could not be started."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `capabilities` are those in effect; `subuids` and `subgids` how many subordinate ids are theirs.

    `mapped` says that the user ids are those of the host, so that no user namespace lies between. `run` is the folder in
    which labs are kept, `run_writable` whether the caller may make it or write there. `id_maps` are newuidmap and newgidmap,
    each with whether it is there with the privilege that it needs."""

    uid: int
    name: str
    capabilities: frozenset[str]
    mapped: bool
    run: str
    run_writable: bool
    trial: Trial
    ordinary: Trial | None = None
    """What root found out for ordinary users; None where the caller is one."""
    id_maps: Mapping[str, bool] = field(default_factory=dict)
    subuids: int = 0
    subgids: int = 0
    kernel_log: str = ""
    """Why /dev/kmsg cannot be read; empty where it can."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`wsl` is 0, 1 or 2; `container` its kind; `lockdown` the mode in force; `apt` whether apt-get is there.

    `modular` says that the kernel can load modules, `modules_there` that /lib/modules has those of this `release`."""

    wsl: int = 0
    container: str = ""
    lockdown: str = "none"
    apt: bool = True
    release: str = ""
    modular: bool = False
    modules_there: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """`why` says why nothing could be tried. `devices` came into the host's own namespace meanwhile."""

    answers: Mapping[str, Answer]
    devices: tuple[str, ...] = ()
    why: str = ""

    def absent(self, needs: frozenset[str]) -> tuple[str, ...]:
        """Those of `needs`, of which `a or b` is one need, that are known to lack."""
        return tuple(sorted(need for need in needs if all(self._there(part) is False for part in need.split(" or "))))

    def untried(self, needs: frozenset[str]) -> tuple[str, ...]:
        """Those that are neither known to be there nor to lack."""
        undecided = (need for need in needs if not any(self._there(part) for part in need.split(" or ")))
        return tuple(sorted(set(undecided) - set(self.absent(needs))))

    def _there(self, part: str) -> bool | None:
        answer = self.answers.get(part)
        return answer.there if answer else None


@dataclass(frozen=True, slots=True)
class Program:
    """`path` is empty where it is not installed; `wanted` says by what it is called."""

    name: str
    package: str
    wanted: tuple[str, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """A topology with its default parameters: the kernel features that it cannot do without, and programs of its services that
    are not installed, with their packages. `problem` is set where it could not be read."""

    features: frozenset[str] = frozenset()
    lacks: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A shipped scenario: its topologies, how many checks it has and how many of them read the kernel's log."""

    name: str
    topologies: tuple[str, ...]
    checks: int
    log_checks: int = 0


@dataclass(frozen=True, slots=True)
class Docker:
    """The daemon that containers are asked of. `program` is dockerd's path, or nothing; `why` says why no daemon answers at
    `address`, and is empty where one does, of this `version`."""

    address: str = ""
    program: str = ""
    version: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """`settings` are sysctls by their names, those that this kernel has and shows; `scratch` the same as a new namespace shows
    them. `deviations` are settings that new namespaces copy from this host, unlike the kernel's own. `managers` are
    programs that run and set up devices or sysctls. `processes` is how many there may be, `files` how many
    files one of them may open. `kernels` are those fetched for guests, by name."""

    caller: Caller
    around: Surroundings
    kernel: Kernel
    programs: tuple[Program, ...] = ()
    topologies: Mapping[str, Needs] = field(default_factory=dict)
    experiments: tuple[Experiment, ...] = ()
    kernels: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    scratch: frozenset[str] = frozenset()
    deviations: tuple[str, ...] | None = None
    managers: tuple[str, ...] = ()
    docker: Docker = field(default_factory=Docker)
    processes: int | None = None
    files: int | None = None
