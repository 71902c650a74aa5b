"""What of a ruleset, as `nft -a list ruleset` prints it, can drop a packet. Pure."""

from __future__ import annotations

import re

_TABLE = re.compile(r"table (\w+ \S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_HOOK = re.compile(r"type \w+ hook (\w+)")
_DROPS = re.compile(r"(?<![\w-])(drop|queue)\b|: drop\b")


def dropping(text: str) -> list[str]:
    """Each policy and each rule with the verdict drop, as `inet filter input (hook input): tcp dport 22 drop # handle 4`; a
    queue drops as well where nobody reads it."""
    found: list[str] = []
    table = chain = hook = ""
    for line in map(str.strip, text.splitlines()):
        if match := _TABLE.match(line):
            table, chain, hook = match[1], "", ""
        elif match := _CHAIN.match(line):
            chain, hook = match[1], ""
        elif match := _HOOK.match(line):
            hook = f" (hook {match[1]})"
            found += [f"{table} {chain}{hook}: policy drop"] if "policy drop" in line else []
        elif chain and _DROPS.search(_without_words(line)):
            found.append(f"{table} {chain}{hook}: {line}")
        if line == "}":
            chain = hook = ""
    return found


def _without_words(line: str) -> str:
    """What a user wrote in quotes, such as a comment, is no verdict."""
    return re.sub(r'"[^"]*"', "", line)
