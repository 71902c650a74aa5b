"""Words for messages: short forms of what a user wrote, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 60  # characters of the user's text that a message repeats
SEARCHED = 1000  # names that are compared with a misspelt one
MOST = 12  # names that a hint lists


def shown(value: object) -> str:
    """`value` as a message shows it: quoted if it is text, and never long."""
    text = repr(value[: LONGEST + 1]) if isinstance(value, str) else _short_repr(value)
    return text if len(text) <= LONGEST + 2 else f"{text[: LONGEST - 1]}…"


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str | None:
    """A hint: the known name nearest to `word`, else `otherwise` followed by the known names; None without either."""
    from difflib import get_close_matches  # 3 ms that only a mistake pays

    names = list(dict.fromkeys(known))
    near = get_close_matches(word[:LONGEST], names[:SEARCHED], n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{otherwise}{listed(names)}" if names and otherwise else None


def listed(names: Iterable[str]) -> str:
    """`a, b, c`, and `…` where there are more than a reader wants."""
    every = list(names)
    return ", ".join(every[:MOST]) + (", …" if len(every) > MOST else "")


def _short_repr(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an int of more digits than Python prints
        return "a very long number"
