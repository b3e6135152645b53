"""Closes Dayfly's own SSH connections to a cluster: they would be saved in a template, and count as traffic."""

from __future__ import annotations

from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.network import ssh_forward_port
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import Drivers
from dayfly.steps.step import ssh_target


async def close_ssh(drivers: Drivers, cluster: Cluster, secrets: ClusterSecrets) -> None:
    """Close this process's connections to a cluster on which no step works. Raises EngineUnavailable."""
    endpoints = await drivers.engine.endpoints(cluster.id)
    for node in cluster.spec.nodes():
        if (where := endpoints.get(ssh_forward_port(node.index))) is not None:
            await drivers.ssh.forget(ssh_target(secrets, where))
