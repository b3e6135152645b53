"""Addresses: unique, in range, and well-formed up to the last node. (node10 and above once broke in gocli.)"""

from __future__ import annotations

import ipaddress
import re

from dayfly.domain.cluster import network
from dayfly.domain.cluster.naming import node_name
from dayfly.vocabulary import MAX_NODES

ALL = range(1, MAX_NODES + 1)


def test_every_node_has_addresses_of_its_own_in_the_subnet() -> None:
    addresses = {ipaddress.ip_address(network.node_address(i)) for i in ALL}
    assert len(addresses) == MAX_NODES
    assert all(address in ipaddress.ip_network(network.SUBNET) for address in addresses)
    assert ipaddress.ip_address(network.GATEWAY) not in addresses


def test_macs_and_taps_are_well_formed_and_unique() -> None:
    macs = {network.node_mac(i) for i in ALL}
    assert len(macs) == MAX_NODES
    assert all(re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) for mac in macs)
    assert len({network.tap_name(i) for i in ALL}) == MAX_NODES


def test_forward_ports_meet_no_other_published_port() -> None:
    ports = [network.ssh_forward_port(i) for i in ALL]
    assert len({*ports, network.API_PORT, network.REGISTRY_PORT}) == MAX_NODES + 2


def test_dnsmasq_knows_every_node_by_mac_and_by_name() -> None:
    argv = network.dnsmasq(12)
    for i in range(1, 13):
        assert f"--dhcp-host={network.node_mac(i)},{network.node_address(i)},{node_name(i)},infinite" in argv
        assert f"--host-record={node_name(i)},{network.node_address(i)}" in argv
    assert not any(node_name(13) in word for word in argv)
