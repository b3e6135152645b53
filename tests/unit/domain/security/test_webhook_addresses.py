"""Which addresses webhooks may be called at, in every notation that a look-up or a URL may have."""

from __future__ import annotations

import pytest

from dayfly.domain.security.webhook_addresses import literal, may_be_called, networks

PUBLIC = ("8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1")
FORBIDDEN = (
    *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"),
    *("10.1.2.3", "172.16.0.1", "192.168.66.2", "fd00::1", "fec0::1", "64:ff9b::a01:203", "64:ff9b:1::1"),
    *("169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
    *("224.0.0.1", "224.0.1.1", "239.1.2.3", "ff02::1", "ff0e::1", "255.255.255.255"),
    *("192.0.0.192", "::ffff:192.0.0.192", "2002:c000:c0::1", "192.0.0.8", "192.88.99.1"),
    *("0.0.0.0", "0.1.2.3", "::", "240.0.0.1", "192.0.2.1", "198.18.0.1", "2001:db8::1", "100::1"),  # noqa: S104
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert may_be_called(address, ())


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_other_address_may_be_called(address: str) -> None:
    assert not may_be_called(address, ())


@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "64:ff9b::a01:203", True),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", "192.168.1.1", False),
        ("10.0.0.0/8", "127.0.0.1", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::/8", "10.1.2.3", False),
        ("127.0.0.1/32", "127.0.0.2", False),
        ("fe80::/10", "fe80::1%eth0", True),
    ],
)
def test_an_operator_allows_networks(allowed: str, address: str, expected: bool) -> None:
    assert may_be_called(address, networks([allowed])) is expected


def test_a_host_is_an_address_or_a_name() -> None:
    assert [literal(host) for host in ("127.0.0.1", "[::1]", "::1")] == ["127.0.0.1", "::1", "::1"]
    # A resolver makes addresses of the last two; the connection is checked, and not the name.
    assert [literal(host) for host in ("localhost", "ci.example", "2130706433", "0x7f.1")] == [None] * 4
