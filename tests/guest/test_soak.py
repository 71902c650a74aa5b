"""Twenty boots in a row, without one failure."""

from __future__ import annotations

import pytest
from support.guests import on


@pytest.mark.soak
@pytest.mark.parametrize("kernel", ["uml", "stock"])
def test_twenty_boots_in_a_row(kernel: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(kernel)
    for number in range(20):
        said = on(name, "validate", "two-hosts")
        assert said.status == 0, f"boot {number + 1}: {said.stderr}"
