"""Endpoints as text."""

from __future__ import annotations

import re
from pathlib import Path

import dayfly
from dayfly.client import Endpoint as EndpointOfClient
from dayfly.domain.cluster.model import Endpoint
from dayfly.drivers.interfaces import SshTarget


def test_ipv6_addresses_are_in_brackets() -> None:
    for endpoint in (Endpoint("::1", 80), EndpointOfClient(host="::1", port=80)):
        assert str(endpoint) == "[::1]:80"
    assert str(Endpoint("127.0.0.1", 80)) == "127.0.0.1:80"


def test_host_and_port_are_joined_in_one_place() -> None:
    """An IPv6 address needs brackets: only `host_and_port` joins them."""
    joined = re.compile(r"\{[\w.]*(host|address)\}:\{[\w.]*port\}")
    package = Path(dayfly.__file__).parent
    guilty = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(joined.search(line) for line in path.read_text().splitlines())
    }
    assert guilty <= {"addresses.py"}


def test_the_address_of_a_node_has_brackets() -> None:
    assert str(SshTarget("::1", 40001, "key", "key")) == "root@[::1]:40001"
    assert str(SshTarget("127.0.0.1", 40001, "key", "key")) == "root@127.0.0.1:40001"
