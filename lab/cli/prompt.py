"""The shell of `lab shell`: the user's own, with his start-up files, and a prompt that names lab and node.

Each kind of shell is pointed at a start-up file of ours that reads the user's first. They come with the package, are the same
for every lab, and learn its name from the environment: LAB_NAME and LAB_NODE. So nothing is written, and no text of a
topology is read by a shell as anything but a variable's value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "shells"
_DEFAULT = "/bin/sh"
_IN_CONTAINERS = "sh"
_HIDDEN = (Path("/run"), Path("/sys"), Path("/proc"))
"""Of which a node has its own, so that our files are not there."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a shell is started."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    of_the_user: bool = False
    """A shell, of which a container has its own."""


def environment(lab: str, node: str) -> dict[str, str]:
    """This process's, with the names of lab and node."""
    return {**os.environ, "LAB_NAME": lab, "LAB_NODE": node}


def inside(start: Start, environment: Mapping[str, str]) -> Start:
    """The same in a container, whose environment it is and whose files the user's shell does not belong to."""
    kept = {name: start.env[name] for name in ("LAB_NAME", "LAB_NODE", "TERM") if name in start.env}
    shown = {"PS1": f"[{kept['LAB_NAME']} {kept['LAB_NODE']}] $ "} if start.of_the_user else {}
    return Start((_IN_CONTAINERS,) if start.of_the_user else start.argv, {**environment, **shown, **kept})


def plain(lab: str, node: str) -> Start:
    """The user's shell where he does not sit in front of it, but a pipe."""
    return Start((_shell(),), environment(lab, node), of_the_user=True)


def interactive(lab: str, node: str, folder: Path | None = None) -> Start:
    """The user's shell in front of him; $SHELL, or sh. `folder` is where our start-up files lie, as the node sees them."""
    return replace(_interactive(lab, node, folder), of_the_user=True)


def _interactive(lab: str, node: str, folder: Path | None) -> Start:
    shell = _shell()
    env, files = environment(lab, node), folder or _visible()
    if files is None:
        return Start((shell,), env)
    match Path(shell).name.lstrip("-"):
        case "bash":
            return Start((shell, "--rcfile", str(files / "bashrc"), "-i"), env)
        case "zsh":
            return Start((shell, "-i"), _moved(env, "ZDOTDIR", "LAB_USER_ZDOTDIR", files / "zsh"))
        case "fish":
            return Start((shell, "-i", "-C", (files / "fish.fish").read_text()), env)
        case _:  # POSIX: an interactive sh reads the file that ENV names; shells of another family know no ENV
            return Start((shell,), _moved(env, "ENV", "LAB_USER_ENV", files / "shrc"))


def _shell() -> str:
    return os.environ.get("SHELL") or _DEFAULT


def _visible() -> Path | None:
    """Where our files lie, or None where a node has a folder of its own in that place."""
    return None if any(hidden in _FOLDER.parents for hidden in _HIDDEN) else _FOLDER


def _moved(env: Mapping[str, str], name: str, kept: str, path: Path) -> dict[str, str]:
    """`name` is `path`, and the user's own value, if any, is under `kept`."""
    users = {kept: env[name]} if name in env else {}
    return {**{key: value for key, value in env.items() if key != kept}, **users, name: str(path)}
