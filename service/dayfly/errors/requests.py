"""Errors of requests: invalid, no such object, not possible in the present state, or too many."""

from __future__ import annotations

from dayfly.errors.base import DayflyError


class InvalidRequest(DayflyError, code="invalid_request"):
    """The request is invalid."""


class BadName(InvalidRequest, code="bad_name"):
    """The name is not valid."""


class ImageMissing(InvalidRequest, code="image_missing"):
    """No such image on this engine."""


class ImageRetired(ImageMissing, code="image_retired"):
    """The image is retired: no new cluster may use it."""


class NotANodeImage(InvalidRequest, code="not_a_node_image"):
    """The image is not a node image of this Dayfly."""


class ImpossibleSize(InvalidRequest, code="impossible_size"):
    """The size is more, or less, than the image or the plan allows."""


class Capacity(InvalidRequest, code="capacity"):
    """The cluster is larger than the whole host."""


class TooManyNodes(InvalidRequest, code="too_many_nodes"):
    """The cluster has more nodes than addresses."""


class AddonUnavailable(InvalidRequest, code="addon_unavailable"):
    """This installation lacks what the add-on needs."""


class NotFound(DayflyError, code="not_found"):
    """No such cluster, node, image or route."""


class NoKubernetes(NotFound, code="no_kubernetes"):
    """The cluster has no Kubernetes."""


class Conflict(DayflyError, code="conflict"):
    """Not possible in the present state."""


class IdempotencyKeyReused(Conflict, code="idempotency_key_reused"):
    """The idempotency key belongs to another request."""


class NameTaken(Conflict, code="name_taken"):
    """A cluster that is not deleted, a pool or a team has the name."""


class NotReady(Conflict, code="not_ready"):
    """The cluster is not ready."""


class BakesOff(Conflict, code="bakes_off"):
    """This installation does not bake images over HTTP."""


class BakeQueueFull(Conflict, code="bake_queue_full"):
    """Too many bakes are queued."""


class WebhookLimit(Conflict, code="webhook_limit"):
    """The team has as many webhooks as it may have."""


class WebhookDisabled(Conflict, code="webhook_disabled"):
    """The webhook is disabled."""


class QuotaExceeded(Conflict, code="quota_exceeded"):
    """The team would have more than its quota allows.

    `largest`: names of what takes most of the quota, with their amounts.
    """

    def __init__(
        self,
        message: str,
        *,
        team: str,
        quota: str,
        limit: int,
        used: int = 0,
        wanted: int = 0,
        largest: tuple[tuple[str, int], ...] = (),
    ) -> None:
        super().__init__(message)
        self.team = team
        self.quota, self.limit, self.used, self.wanted, self.largest = quota, limit, used, wanted, largest


class LongPollsExceeded(QuotaExceeded, code="long_polls_exceeded"):
    """This server holds as many responses of the team as its quota allows."""


class TooManyWaits(DayflyError, code="too_many_waits"):
    """Too many requests wait on this server."""


class TooManyStreams(DayflyError, code="too_many_streams"):
    """Too many streams of events are open on this server."""


class RateLimited(DayflyError, code="rate_limited"):
    """The caller makes more requests than allowed."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PreconditionFailed(DayflyError, code="precondition_failed"):
    """The resource has changed since the caller read it."""


class Unauthenticated(DayflyError, code="unauthenticated"):
    """The request does not prove who the caller is."""


class Forbidden(DayflyError, code="forbidden"):
    """The caller's role does not allow the operation."""


class TokenRefused(Unauthenticated, code="token_refused"):
    """The token of an OIDC issuer is not valid here."""


class NoRuleMatches(Forbidden, code="no_rule_matches"):
    """No rule of this installation gives the token a team that exists."""


class IsolationRequired(Forbidden, code="isolation_required"):
    """The team may have clusters with strict isolation only."""


class OverBounds(Forbidden, code="over_bounds"):
    """The caller's token does not allow a cluster of this size or time to live."""


class OidcFileInvalid(InvalidRequest, code="oidc_file_invalid"):
    """The file of OIDC issuers and rules cannot be used."""
