"""What the kernel of a guest can do: found by trying it in a guest, once for a release, image and substrate, and kept."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lab.dispatch import guests
from lab.errors import HostError
from lab.kernels import Kernel, cache

_VERSION = 1


def of(kernel: Kernel) -> frozenset[str]:
    """The names of its features; tried in a guest where nobody has yet. Raises HostError where it does not boot."""
    remembered = known(kernel)
    return tried(kernel) if remembered is None else remembered


def known(kernel: Kernel) -> frozenset[str] | None:
    """As remembered; None where nobody has tried, or this `lab` asks for features that were not tried then."""
    from lab.substrate import features

    try:
        said = json.loads(_file(kernel).read_text())
        answers: dict[str, Any] = said["features"]
        if said["version"] == _VERSION and answers.keys() >= set(features.NAMES):
            return frozenset(name for name, there in answers.items() if there)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def tried(kernel: Kernel) -> frozenset[str]:
    """Boots it, and remembers. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        file = Path(folder, "features.json")
        status = guests.run(kernel, ["-q", "kernels", "probe", str(file)], [file])
        try:
            answers = {str(name): bool(there) for name, there in json.loads(file.read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
            said = f"what kernel {kernel.release} can do could not be found out: lab ended there with status {status}"
            raise HostError(said, f"lab --kernel {kernel.name} doctor") from error
    cache.keep(_file(kernel), json.dumps({"version": _VERSION, "features": answers}).encode())
    return frozenset(name for name, there in answers.items() if there)


def write_here(file: Path) -> None:
    """What the running kernel has, for `tried`: to be called in the guest."""
    from lab.substrate import features, namespaces

    answers = namespaces.inside_scratch(features.tried_here)
    file.write_text(json.dumps({name: bool(answer.there) for name, answer in answers.items()}))


def _file(kernel: Kernel) -> Path:
    """Another one for another image, or another substrate."""
    seen = os.stat(kernel.image)  # noqa: PTH116 - one call
    image = hashlib.sha256(f"{kernel.image} {seen.st_size} {seen.st_mtime_ns}".encode()).hexdigest()[:12]
    return kernel.cache / f"features-{guests.substrate(kernel)}-{image}.json"
