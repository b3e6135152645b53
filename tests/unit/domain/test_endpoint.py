"""An endpoint as text."""

from __future__ import annotations

from dayfly.client import Endpoint as EndpointOfClient
from dayfly.domain.cluster.model import Endpoint


def test_ipv6_addresses_are_in_brackets() -> None:
    for endpoint in (Endpoint("::1", 80), EndpointOfClient(host="::1", port=80)):
        assert str(endpoint) == "[::1]:80"
    assert str(Endpoint("127.0.0.1", 80)) == "127.0.0.1:80"
