"""Where a node's services have their things: below the node's directory in the lab's tree, and what the node calls it.

nodes/<node>/run/                 what the node sees as /run
nodes/<node>/run/services/<name>/   /run/services/<name>, the service's folder with its rendered files
nodes/<node>/own/<path>           what the node sees at /<path>, such as var/lib/<daemon>
nodes/<node>/services/<name>.log    the service's output        <name>.json   how it was started last
services.json                     (of the lab) every service as it was deployed
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lab.errors import HostError
from lab.roles.spec import FOLDER, Ready, ServiceSpec

RUN = "/run"


def folder_of(node_dir: Path, spec: ServiceSpec) -> Path:
    return node_dir / "run" / PurePosixPath(FOLDER).relative_to(RUN) / spec.name


def log_of(node_dir: Path, name: str) -> Path:
    return node_dir / "services" / f"{name}.log"


def own_directories(node_dir: Path, specs: Iterable[ServiceSpec]) -> dict[str, Path]:
    """Place -> the directory that a node with these services sees there instead of the host's; upper ones first."""
    places = sorted({place for spec in specs for place in spec.directories})
    return {place: node_dir / "own" / place.lstrip("/") for place in places}


def seen_at(node_dir: Path, spec: ServiceSpec, path: str) -> Path:
    """Where a path that a service of the node says lies for the host; a relative one is in the service's folder."""
    whole = PurePosixPath(spec.folder, path)
    places = {RUN: node_dir / "run", **own_directories(node_dir, [spec])}
    for place in sorted(places, key=len, reverse=True):
        if whole.is_relative_to(place):
            return places[place] / whole.relative_to(place)
    return Path(whole)


def furnish(node_dir: Path, specs: Iterable[ServiceSpec]) -> dict[str, Path]:
    """Makes the own directories of a node and gives each to the user who wants it. Raises HostError."""
    specs = tuple(specs)
    found = own_directories(node_dir, specs)
    for source in found.values():
        source.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        for place in spec.directories if spec.owner else ():
            give_to(spec, found[place])
    return found


def give_to(spec: ServiceSpec, path: Path) -> None:
    """Hands `path` to the user whom the service changes to."""
    if spec.owner is None:
        return
    try:
        user = pwd.getpwnam(spec.owner)
    except KeyError:
        bring = f"its package brings it: lab doctor --install, or apt-get install {spec.package}" if spec.package else None
        raise HostError(f"service {spec} runs as the user {spec.owner}, whom this host does not know", bring) from None
    try:
        os.chown(path, user.pw_uid, user.pw_gid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        hint = "run it as root, or give your user subordinate ids (subuid(5), subgid(5)) and install uidmap"
        raise HostError(f"service {spec} runs as the user {spec.owner}, who has no id in this user namespace", hint) from None


def write(path: Path, specs: Iterable[ServiceSpec]) -> None:
    """Every service as it is deployed, for the commands that come later: files and roles may change meanwhile."""
    path.write_text(json.dumps([dataclasses.asdict(spec) for spec in specs]))


def read(path: Path) -> tuple[ServiceSpec, ...]:
    """What `write` wrote; nothing where the lab has no services."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return ()
    return tuple(_spec(each) for each in data)


def _spec(data: Mapping[str, Any]) -> ServiceSpec:
    ready = data["ready"]
    return ServiceSpec(
        **{
            **data,
            "argv": tuple(data["argv"]),
            "directories": tuple(data["directories"]),
            "path": tuple(data["path"]),
            "ready": Ready(**{**ready, "listen": tuple(ready["listen"]), "answer": tuple(ready["answer"])}),
        }
    )
