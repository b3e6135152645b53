"""ETags, and If-Match on PATCH: a caller changes what it has seen, and no change of another caller is lost.

A tag is a hash of what identifies a resource and of what a PATCH can change; for a template, which has no PATCH, of its
record. Tags are strong, because If-Match matches no weak tag (RFC 9110, 13.1.1). A response also shows values that
change by themselves, such as durations and the queue position: two responses with one tag may differ in these. The tag
is a hash and not a number of changes: a PATCH that an older process carries out changes the tag, too. If-None-Match is
not supported, for the same reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar

from fastapi import Header, Response

from dayfly.domain.cluster.model import Cluster
from dayfly.domain.pool import Pool
from dayfly.domain.security.team import Team
from dayfly.domain.template import Template
from dayfly.domain.webhook import Webhook
from dayfly.errors import PreconditionFailed

T = TypeVar("T")

DESCRIBED: Final[dict[str, Any]] = {
    "ETag": {
        "description": "Changes with what a PATCH can change. Give it to a PATCH as `If-Match`.",
        "schema": {"type": "string"},
    }
}
"""Entry `headers` of a response with a resource that has a PATCH."""
TEMPLATE_TAG: Final[dict[str, Any]] = {
    "ETag": {"description": "Changes with the template's record.", "schema": {"type": "string"}}
}
_TAGS: Final = r"\s*(W/)?\"[\x21\x23-\x7e]*\"\s*"
_STRONG: Final = re.compile(r'(?:^|,)\s*("[\x21\x23-\x7e]*")')

IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        pattern=rf"^(\*|{_TAGS}(,{_TAGS})*)$",
        description="The `ETag` of the response that the change is based on. If the resource has changed since, it is "
        "not changed: 412 `precondition_failed`.",
    ),
]


def cluster_tag(cluster: Cluster) -> str:
    spec, hold = cluster.spec, cluster.hold
    return _tag(
        cluster.id,
        spec.ttl_seconds,
        dict(spec.labels),
        spec.idle_seconds,
        None if hold is None else [hold.until.isoformat(), hold.reason, hold.vms],
        [addon.name for addon in spec.addons],
        spec.addons_revision,
    )


def pool_tag(pool: Pool) -> str:
    schedule = [[sorted(one.days), one.since.isoformat(), one.until.isoformat(), one.size] for one in pool.schedule]
    return _tag(pool.id, pool.size, pool.maximum, schedule, pool.max_age_seconds)


def team_tag(team: Team) -> str:
    return _tag(team.id, team.description)


def webhook_tag(webhook: Webhook) -> str:
    changeable = [webhook.url, sorted(webhook.events), webhook.description, webhook.enabled, webhook.disabled_reason]
    return _tag(webhook.id, changeable)


def template_tag(template: Template) -> str:
    return _tag({name: value for name, value in vars(template).items() if name != "spec"})


def tagged(response: Response, tag: str) -> None:
    """Give the response its tag."""
    response.headers["ETag"] = tag


def required(if_match: str | None, tag_of: Callable[[T], str], kind: str) -> Callable[[T], None]:
    """A check of the resource as it is before the change. Raises PreconditionFailed."""

    def check(resource: T) -> None:
        if if_match is None or if_match == "*" or tag_of(resource) in _STRONG.findall(if_match):
            return
        raise PreconditionFailed(f"the {kind} has changed since it was read: get it again, and repeat the change")

    return check


def _tag(*values: object) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{sha256(canonical.encode()).hexdigest()[:32]}"'
