"""Which IP addresses a webhook may be called at: public ones, and those that the operator allows.

A caller chooses a webhook's URL, and the service calls it from inside the operator's network: without this rule any
caller could send requests to services that trust that network, such as the metadata service of a cloud.
Not here: the look-up of names and the connection (drivers/webhooks/).
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA: Final = (
    ip_address("168.63.129.16"),  # Azure's, which is no private address; those of other clouds are
)
_OF_PROTOCOLS: Final = (ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"))
"""Python before 3.12 takes most of the first for public, where one cloud has its metadata service."""
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 behind a translator (NAT64)."""


def networks(texts: Collection[str]) -> tuple[Network, ...]:
    """Raises ValueError for a text that is no network in CIDR notation."""
    return tuple(map(ip_network, texts))


def may_be_called(text: str, allowed: Collection[Network]) -> bool:
    """Whether a webhook may be called at the IP address `text`, as a look-up returned it."""
    # The zone of a link-local address (fe80::1%eth0) is no part of a network.
    address = _as_ipv4(ip_address(text.partition("%")[0]))
    if any(address in network for network in allowed if network.version == address.version):
        return True
    inner = _inside(address)
    return _is_public(address) and (inner is None or _is_public(inner))


def literal(host: str) -> str | None:
    """The host of a URL if it is an IP address; None: it is a name."""
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _as_ipv4(address: Address) -> Address:
    """An address that stands for one of IPv4: mapped (::ffff:127.0.0.1), or behind a translator."""
    if not isinstance(address, IPv6Address):
        return address
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _TRANSLATED else address.ipv4_mapped or address


def _inside(address: Address) -> IPv4Address | None:
    """The address of IPv4 that a tunnel takes out of an address of IPv6."""
    if not isinstance(address, IPv6Address):
        return None
    return address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_public(address: Address) -> bool:
    special = address in _METADATA or any(address in network for network in _OF_PROTOCOLS)
    if special or not address.is_global:
        return False
    no_host = address.is_multicast or address.is_reserved or address.is_unspecified
    return not (no_host or (isinstance(address, IPv6Address) and address.is_site_local))
