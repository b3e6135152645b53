"""Time to live, extensions and holds that a caller may request, within the limits of the server and of its token.

Not here: when a cluster expires (domain/cluster/expiry.py), and what happens then (controllers/).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta

from dayfly.api.clusters.bounds import check_hold, check_ttl
from dayfly.api.dependencies import ApiServices
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.domain.security.principal import Bounds
from dayfly.errors import InvalidRequest
from dayfly.schemas.cluster_requests import ChangeRequest, HoldRequest
from dayfly.store import UNSET, Change


def allowed_ttl(requested: int | None, services: ApiServices) -> int | None:
    """The TTL in seconds, or the default; None: no TTL. Raises InvalidRequest."""
    if requested is None:
        return services.settings.default_ttl_seconds
    if requested > services.settings.max_ttl_seconds:
        raise InvalidRequest(f"ttl_seconds: at most {services.settings.max_ttl_seconds} on this server")
    return requested


def allowed_hold(requested: HoldRequest | None, services: ApiServices) -> Hold | None:
    """The requested hold. Raises InvalidRequest if its end is in the past, or too late."""
    if requested is None:
        return None
    now, most = services.clock.now(), services.settings.max_hold_seconds
    if requested.seconds is not None and requested.seconds > most:
        raise InvalidRequest(f"hold.seconds: at most {most} on this server")
    until = requested.until if requested.until is not None else now + timedelta(seconds=requested.seconds or 0)
    if until <= now:
        raise InvalidRequest("hold.until: this time is in the past")
    if until > now + timedelta(seconds=most):
        raise InvalidRequest(f"hold.until: at most {most} seconds from now on this server")
    return Hold(until.astimezone(UTC), requested.reason, requested.vms)


def change_of(
    request: ChangeRequest, services: ApiServices, bounds: Bounds
) -> tuple[Change, Callable[[Cluster], None]]:
    """The update for the store, and a check of the updated cluster. Both raise InvalidRequest, OverBounds."""
    given = request.model_fields_set
    change = Change(
        ttl_seconds=allowed_ttl(request.ttl_seconds, services) if "ttl_seconds" in given else UNSET,
        labels=dict(request.labels) if "labels" in given else UNSET,
        hold=allowed_hold(request.hold, services) if "hold" in given else UNSET,
        idle_seconds=request.idle_seconds if "idle_seconds" in given else UNSET,
    )
    if change.ttl_seconds is not UNSET:
        check_ttl(bounds, change.ttl_seconds)
    now = services.clock.now()

    def allow(changed: Cluster) -> None:
        end = expiry(replace(changed, heartbeat_at=None))
        if "ttl_seconds" in given and end is not None and end.at <= now:
            raise InvalidRequest(
                f"ttl_seconds: the cluster would have expired at {end.at:%Y-%m-%d %H:%M:%S} UTC; DELETE the cluster "
                "instead"
            )
        if "hold" in given:
            check_hold(bounds, changed.hold, changed.ready_at or changed.failed_at or now)

    return change, allow
