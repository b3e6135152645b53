"""The store: desired state and reported state of clusters, templates and pools. The only SQL of the project.

`Store` (store.py) is made of parts with one file each: `store.clusters.get(…)` is in clusters/queries.py. The API
records requests (`clusters`, `updates`, `lifecycle`); workers admit, claim and report (`admission`, `leases`,
`status`, `provisioning`, `template_builds`). `templates`, `checkpoints`, `pools` and `images` serve both; `event_feed`,
`maintenance`, `statistics` and `image_uses` are about all clusters. `bakes` has the bakes that callers request,
`bake_leases` their builders' claims; `webhooks` and `webhook_leases` the same of calls to webhooks. `idempotency_keys`
has the requests that were carried out, `audit` all that may have changed something, `teams` and `tokens` who may
request. `usage` has what clusters had reserved for how long, `quotas` what teams may have.
Not here: deciding what happens next (controllers/), and what is true of the world (drivers/).
"""

from __future__ import annotations

from dayfly.store.audit import AuditFilter
from dayfly.store.commands import (
    DEFAULT_OWNER,
    MEMBER_STATES,
    UNSET,
    BakeClaim,
    BakePage,
    CarriedOut,
    Change,
    Claim,
    ClusterEvent,
    DeliveryClaim,
    DeliveryPage,
    EventFilter,
    EventPage,
    IdempotencyKey,
    Known,
    NewCluster,
    NewPool,
    NewWebhook,
    PoolChange,
    Usage,
    WebhookChange,
)
from dayfly.store.db.audit_rows import AuditedRequest, audited_request
from dayfly.store.notify.commit_notifier import Watch
from dayfly.store.store import Store
from dayfly.store.tokens import NewToken

__all__ = [
    "DEFAULT_OWNER",
    "MEMBER_STATES",
    "UNSET",
    "AuditFilter",
    "AuditedRequest",
    "BakeClaim",
    "BakePage",
    "CarriedOut",
    "Change",
    "Claim",
    "ClusterEvent",
    "DeliveryClaim",
    "DeliveryPage",
    "EventFilter",
    "EventPage",
    "IdempotencyKey",
    "Known",
    "NewCluster",
    "NewPool",
    "NewToken",
    "NewWebhook",
    "PoolChange",
    "Store",
    "Usage",
    "Watch",
    "WebhookChange",
    "audited_request",
]
