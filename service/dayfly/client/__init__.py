"""Dayfly's HTTP client, synchronous and asynchronous. It returns the models of schemas/.

from dayfly.client import Client

with Client() as dayfly:
    cluster = dayfly.create("demo", image="k8s-debian", workers=1)
    dayfly.wait_ready(cluster.id)
    kubeconfig = dayfly.kubeconfig(cluster.id)
"""

from __future__ import annotations

from dayfly.client.async_client import AsyncClient
from dayfly.client.errors import (
    ApiError,
    BakeFailed,
    BakeTimeout,
    ClientError,
    ClusterFailed,
    InvalidArgument,
    LoginFailed,
    Unreachable,
    Untrusted,
    WaitTimeout,
)
from dayfly.client.sync_client import Client
from dayfly.schemas.access import NewToken, Team, Token, Whoami
from dayfly.schemas.accounting import AuditEntry, UsageAmount, UsageList, UsageRow
from dayfly.schemas.addons import Addon, AddonError, ClusterAddon
from dayfly.schemas.bakes import Bake, BakeError, BakeEvent, BakeEventList, BakeSummary
from dayfly.schemas.checkpoints import Checkpoint
from dayfly.schemas.cluster_requests import HoldRequest, PortRequest, SizeRequest
from dayfly.schemas.clusters import (
    Cluster,
    ClusterSummary,
    DryRun,
    Endpoint,
    ErrorReport,
    Event,
    EventList,
    Heartbeat,
    Hold,
    NodeSize,
    Port,
    PublishedPort,
    Registry,
    Spec,
    Step,
    ToCheckpoint,
)
from dayfly.schemas.images import ImageHistoryEntry, ImageName, ImageOutcomes, ImageUse, NodeImage
from dayfly.schemas.login import LoginIssuer, LoginOptions
from dayfly.schemas.nodes import Node, NodeMemory, SshAccess
from dayfly.schemas.pools import Period, Pool, PoolCondition
from dayfly.schemas.quotas import DefaultQuota, Quota
from dayfly.schemas.status import Status
from dayfly.schemas.system import Orphan, Version
from dayfly.schemas.templates import Parents, Template, TemplateError
from dayfly.schemas.webhooks import CreatedWebhook, Webhook, WebhookAttempt, WebhookDelivery

__all__ = [
    "Addon",
    "AddonError",
    "ApiError",
    "AsyncClient",
    "AuditEntry",
    "Bake",
    "BakeError",
    "BakeEvent",
    "BakeEventList",
    "BakeFailed",
    "BakeSummary",
    "BakeTimeout",
    "Checkpoint",
    "Client",
    "ClientError",
    "Cluster",
    "ClusterAddon",
    "ClusterFailed",
    "ClusterSummary",
    "CreatedWebhook",
    "DefaultQuota",
    "DryRun",
    "Endpoint",
    "ErrorReport",
    "Event",
    "EventList",
    "Heartbeat",
    "Hold",
    "HoldRequest",
    "ImageHistoryEntry",
    "ImageName",
    "ImageOutcomes",
    "ImageUse",
    "InvalidArgument",
    "LoginFailed",
    "LoginIssuer",
    "LoginOptions",
    "NewToken",
    "Node",
    "NodeImage",
    "NodeMemory",
    "NodeSize",
    "Orphan",
    "Parents",
    "Period",
    "Pool",
    "PoolCondition",
    "Port",
    "PortRequest",
    "PublishedPort",
    "Quota",
    "Registry",
    "SizeRequest",
    "Spec",
    "SshAccess",
    "Status",
    "Step",
    "Team",
    "Template",
    "TemplateError",
    "ToCheckpoint",
    "Token",
    "Unreachable",
    "Untrusted",
    "UsageAmount",
    "UsageList",
    "UsageRow",
    "Version",
    "WaitTimeout",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "Whoami",
]
