"""What a caller installs: a sync and an async client of Dayfly's HTTP API. It imports nothing of the server.

from dayfly.client import Client

with Client() as dayfly:
    cluster = dayfly.create("demo", image="k8s-debian", workers=1)
    dayfly.wait_ready(cluster.id)
    kubeconfig = dayfly.kubeconfig(cluster.id)
"""

from __future__ import annotations

from dayfly.client.async_client import AsyncClient
from dayfly.client.checkpoint_models import Checkpoint
from dayfly.client.errors import ApiError, ClientError, ClusterFailed, Unreachable, WaitTimeout
from dayfly.client.models import (
    Cluster,
    Endpoint,
    ErrorReport,
    Event,
    Events,
    Heartbeat,
    Hold,
    HoldRequest,
    NodeSize,
    Orphan,
    Page,
    Port,
    Registry,
    SizeRequest,
    Spec,
    Step,
    ToCheckpoint,
    Version,
)
from dayfly.client.node_models import Node, NodeMemory, SshAccess
from dayfly.client.pool_models import Period, Pool, PoolCondition
from dayfly.client.sync_client import Client
from dayfly.client.template_models import Parents, Template, TemplateError

__all__ = [
    "ApiError",
    "AsyncClient",
    "Checkpoint",
    "Client",
    "ClientError",
    "Cluster",
    "ClusterFailed",
    "Endpoint",
    "ErrorReport",
    "Event",
    "Events",
    "Heartbeat",
    "Hold",
    "HoldRequest",
    "Node",
    "NodeMemory",
    "NodeSize",
    "Orphan",
    "Page",
    "Parents",
    "Period",
    "Pool",
    "PoolCondition",
    "Port",
    "Registry",
    "SizeRequest",
    "Spec",
    "SshAccess",
    "Step",
    "Template",
    "TemplateError",
    "ToCheckpoint",
    "Unreachable",
    "Version",
    "WaitTimeout",
]
