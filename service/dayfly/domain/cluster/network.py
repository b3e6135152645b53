"""The addresses inside a cluster's network namespace: the same in every cluster."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from typing import Final

from dayfly.domain.cluster.naming import node_name
from dayfly.vocabulary import MAX_NODES

BRIDGE: Final = "br0"
BRIDGE_MAC: Final = "02:00:66:00:00:02"
"""Fixed: guests that are restored from a template have it in their ARP caches."""
GATEWAY: Final = "192.168.66.2"
SUBNET: Final = "192.168.66.0/24"
PREFIX_LENGTH: Final = 24

LOAD_BALANCERS: Final = IPv4Network("192.168.67.0/24")
"""Addresses of Services of type LoadBalancer, which nodes own (provisioning/kubernetes/programs/balancer)."""
SERVICES: Final = IPv4Network("10.96.0.0/12")
"""Cluster addresses of Services: kubeadm's default, which images keep."""

SSH_PORT: Final = 22
API_PORT: Final = 6443
REGISTRY_PORT: Final = 5000

LEASES: Final = "/run/dayfly/leases"
"""dnsmasq's leases in the net container: one a line, each with its node's MAC. They live as long as the container."""


def node_address(index: int) -> str:
    """192.168.66.101 for node 1."""
    return f"192.168.66.{100 + index}"


def node_mac(index: int) -> str:
    """52:55:00:d1:55:01 for node 1; decimal digits, as in the node's name."""
    return f"52:55:00:d1:55:{index:02d}"


def tap_name(index: int) -> str:
    """tap01 for node 1."""
    return f"tap{index:02d}"


def ssh_forward_port(index: int) -> int:
    """The port of the namespace's outer address for the SSH of node `index`: 2201 for node 1."""
    return 2200 + index


def port_forward_port(number: int) -> int:
    """The port of the namespace's outer address for a caller's published port: 7001 for number 1."""
    return 7000 + number


def is_service_address(text: str) -> bool:
    """Whether a Service can have this address: one of LOAD_BALANCERS or of SERVICES."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(
        address in block and address not in {block.network_address, block.broadcast_address}
        for block in (LOAD_BALANCERS, SERVICES)
    )


def route_to(address: str) -> str:
    """The route of the network container to a Service's address, as /usr/lib/dayfly/net reads it.

    A node answers for the addresses of LOAD_BALANCERS. An address of SERVICES leads to the control plane, where
    kube-proxy forwards it. No route leads to all SERVICES: the host's network may use a part of that block.
    """
    return str(LOAD_BALANCERS) if ip_address(address) in LOAD_BALANCERS else f"{address}={node_address(1)}"


def dnsmasq(nodes: int) -> tuple[str, ...]:
    """dnsmasq's argv for `nodes` nodes: DHCP by MAC, DNS for the nodes and the registry, in the foreground."""
    hosts = (
        argument
        for index in range(1, nodes + 1)
        for argument in (
            f"--dhcp-host={node_mac(index)},{node_address(index)},{node_name(index)},infinite",
            f"--host-record={node_name(index)},{node_address(index)}",
        )
    )
    return (
        "dnsmasq",
        "--keep-in-foreground",
        "--log-facility=-",
        "--log-dhcp",
        "--user=root",
        "--pid-file=",
        "--no-hosts",
        f"--interface={BRIDGE}",
        "--bind-interfaces",
        "--except-interface=lo",
        "--dhcp-authoritative",
        "--no-ping",
        f"--dhcp-leasefile={LEASES}",
        f"--dhcp-range={node_address(1)},{node_address(MAX_NODES)},255.255.255.0,infinite",
        f"--dhcp-option=3,{GATEWAY}",
        f"--dhcp-option=6,{GATEWAY}",
        f"--host-record=registry,{GATEWAY}",
        *hosts,
    )
