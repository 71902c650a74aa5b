"""What every service finds around it: the same on every host, whoever started the lab."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from lab.roles.spec import ServiceSpec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(spec: ServiceSpec) -> Mapping[str, str]:
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": spec.folder, **spec.env}


def has_program(spec: ServiceSpec) -> bool:
    """Whether the host has what the service runs; one that is named relative to its folder comes with the service."""
    program = spec.program
    if "/" in program and not program.startswith("/"):
        return program.removeprefix("./") in spec.files
    return shutil.which(program, path=spec.env.get("PATH", PATH)) is not None
