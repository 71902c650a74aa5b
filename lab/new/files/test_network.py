"""A router brings two networks together.

Each test has a lab of its own, which is gone when the test ends. The first line of its docstring is what `lab run` prints.
A claim proves little by itself: beside it stands its counterfactual, which takes the cause away and sees the effect go.
"""

from __future__ import annotations

import pytest

from lab import Lab

SERVER = "10.0.2.2"
REFUSED = "IpInAddrErrors"  # what the kernel counts of packets that it will not pass on (lab exec … -- nstat -az)


def reaches_the_server(lab: Lab) -> bool:
    return lab["client"].run(["ping", "-c1", "-W2", SERVER], check=False).status == 0


@pytest.mark.lab("network.yaml")
def test_the_client_reaches_the_server(lab: Lab) -> None:
    """The client reaches the server through the router."""
    assert reaches_the_server(lab)
    assert lab["router"].counters()["IpForwDatagrams"] == 2  # a request and its reply


@pytest.mark.lab("network.yaml", forwarding=0)
def test_without_forwarding_the_router_refuses(lab: Lab) -> None:
    """Without forwarding the client does not, and the router counts what it refused."""
    assert not reaches_the_server(lab)
    assert lab["router"].counters()[REFUSED] == 1
