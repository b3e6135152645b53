"""Time to live, extensions and holds that a caller may request, within the server's limits.

Not here: when a cluster expires (domain/cluster/expiry.py), and what happens then (controllers/).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dayfly.api.dependencies import ApiServices
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.errors import InvalidRequest
from dayfly.schemas.cluster_requests import ChangeRequest, HoldRequest
from dayfly.store import UNSET, Change


def allowed_ttl(asked: int | None, services: ApiServices) -> int | None:
    """Seconds to live, the default filled in; None: it never expires of age. Raises InvalidRequest."""
    if asked is None:
        return services.default_ttl_seconds
    if asked > services.max_ttl_seconds:
        raise InvalidRequest(f"ttl_seconds: at most {services.max_ttl_seconds} on this server")
    return asked


def allowed_hold(asked: HoldRequest | None, services: ApiServices) -> Hold | None:
    """The hold that was asked for, with its end. Raises InvalidRequest where that is past, or too far ahead."""
    if asked is None:
        return None
    now, most = services.clock.now(), services.max_hold_seconds
    if asked.seconds is not None and asked.seconds > most:
        raise InvalidRequest(f"hold.seconds: at most {most} on this server")
    until = asked.until if asked.until is not None else now + timedelta(seconds=asked.seconds or 0)
    if until <= now:
        raise InvalidRequest("hold.until: that is past")
    if until > now + timedelta(seconds=most):
        raise InvalidRequest(f"hold.until: at most {most} seconds from now on this server")
    return Hold(until.astimezone(UTC), asked.reason, asked.vms)


def change_of(request: ChangeRequest, services: ApiServices) -> tuple[Change, Callable[[Cluster], None]]:
    """What the store is to change, and the check of what would come of it. Raises InvalidRequest."""
    given = request.model_fields_set
    change = Change(
        ttl_seconds=allowed_ttl(request.ttl_seconds, services) if "ttl_seconds" in given else UNSET,
        labels=dict(request.labels) if "labels" in given else UNSET,
        hold=allowed_hold(request.hold, services) if "hold" in given else UNSET,
        idle_seconds=request.idle_seconds if "idle_seconds" in given else UNSET,
    )
    now = services.clock.now()

    def allow(changed: Cluster) -> None:
        if "ttl_seconds" in given:
            _check_time_is_left(changed, now)

    return change, allow


def _check_time_is_left(cluster: Cluster, now: datetime) -> None:
    end = expiry(replace(cluster, heartbeat_at=None))
    if end is not None and end.at <= now:
        raise InvalidRequest(
            f"ttl_seconds: its time would be over since {end.at:%Y-%m-%d %H:%M:%S} UTC; to be rid of it, DELETE it"
        )
