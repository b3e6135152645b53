"""Host ports: free or in use, and the port that an engine's refusal names."""

from __future__ import annotations

import socket

from dayfly.drivers.docker.host_ports import DEFAULT_RANGE, can_be_bound, named_in


def test_a_port_that_is_listened_on_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not can_be_bound("127.0.0.1", port)
        assert not can_be_bound("0.0.0.0", port)  # noqa: S104
        # An address that is not of this host: only the engine knows.
        assert can_be_bound("192.0.2.1", port)
    assert can_be_bound("127.0.0.1", port)


def test_a_port_that_all_addresses_listen_on_cannot_be_had() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104
        assert not can_be_bound("127.0.0.1", taken.getsockname()[1])


def test_a_refusal_names_its_port_or_means_all() -> None:
    said = "driver failed programming external connectivity: Bind for 127.0.0.1:20001 failed: port is already allocated"

    assert named_in(said, {20000, 20001}) == {20001}
    assert named_in("all ports are allocated", {20000, 20001}) == {20000, 20001}
    assert named_in("listen tcp4 127.0.0.1:80: bind: address already in use", {20000}) == {20000}


def test_the_default_range_is_below_the_ports_of_connections() -> None:
    first, _, last = DEFAULT_RANGE.partition("-")

    assert 1024 < int(first) < int(last) < 32768
