"""A shipped scenario run by the command, and what its checks came to."""

from __future__ import annotations

from support.commands import Said, lab

SECONDS = 300.0


def run(scenario: str, **sets: object) -> Said:
    """All its checks, with parameters of its topology set; what this kernel lacks in a guest."""
    return lab("run", scenario, "-f", "json", *_words(sets), timeout=SECONDS)


def run_here(scenario: str, **sets: object) -> Said:
    """The same on this kernel alone."""
    return lab("--kernel", "host", "run", scenario, "-f", "json", *_words(sets), timeout=SECONDS)


def _words(sets: dict[str, object]) -> list[str]:
    return [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]


def setting(value: object) -> str:
    """What was set, as the name of a parametrized test; the same in every process, as that of a set of names is not."""
    return ",".join(f"{name}={each}" for name, each in value.items()) if isinstance(value, dict) else ""


def failed(said: Said) -> set[str]:
    """The names of the checks that were made and do not hold; parameters of a check are left out."""
    return {check["name"].partition("[")[0] for check in said.json("run")["checks"] if check["outcome"] == "failed"}


def not_held(said: Said) -> dict[str, str]:
    """Name -> what it said, of every check that does not hold or could not be made."""
    return {each["name"]: each["message"] for each in said.json("run")["checks"] if each["outcome"] != "held"}
