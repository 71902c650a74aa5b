"""Every kind of link of the topology language, made by a kernel that has them all; in one boot."""

from __future__ import annotations

from support import inside


def test_every_kind_of_link_is_made_as_the_file_says() -> None:
    said = inside.run(inside.GUEST / "kinds.py")
    assert said.status == 0, said.stdout + said.stderr
    assert {check["outcome"] for check in said.json("run")["checks"]} == {"held"}
