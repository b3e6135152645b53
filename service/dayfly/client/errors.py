"""What can go wrong for a caller.

ClientError
├── InvalidArgument  a name, a URL or a token that cannot be used; nothing was sent
├── ApiError         the server said no; `code` is stable
├── Unreachable      no server answered
├── Untrusted        the server's certificate is not to be trusted; nothing was sent
├── BakeFailed       waited for a bake that failed, or is cancelled
├── BakeTimeout      waited for a bake, and it took longer
├── LoginFailed      a person could not log in; `code` is stable
├── ClusterFailed    waited for a cluster that failed, or was deleted meanwhile
└── WaitTimeout      waited, and it took longer
"""

from __future__ import annotations

from collections.abc import Mapping

from dayfly.schemas.bakes import Bake
from dayfly.schemas.clusters import Cluster


class ClientError(Exception):
    """Root of the tree."""


class InvalidArgument(ClientError):
    """What the caller gave cannot be used; nothing was sent."""


class ApiError(ClientError):
    """The server said no. `problem` is the whole RFC 9457 document; `detail` is for people.

    `retry_after_seconds`: the header Retry-After, if the response had one.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        problem: Mapping[str, object],
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"[{code}] {detail}")
        self.retry_after_seconds = retry_after_seconds
        self.code = code
        self.status = status
        self.detail = detail
        self.problem = problem


class Unreachable(ClientError):
    """No server answered at `url`. `sent`: the server may have received the request."""

    def __init__(self, url: str, reason: str, *, sent: bool = False) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.sent = sent
        self.url = url
        self.reason = reason


class LoginFailed(ClientError):
    """Nobody has logged in. `code`: `login_denied`, `login_expired`, or `login_unavailable`: a fault of the issuer."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Untrusted(ClientError):
    """The certificate of the server at `url` cannot be verified; no request was sent."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} is not trusted: {reason}")
        self.url = url
        self.reason = reason


class ClusterFailed(ClientError):
    """The cluster cannot reach the awaited state; `cluster.error` has the reason.

    `code`: the cluster's error, else `deleted`, `not_hibernated` or `not_ready`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.code, reason = _failure(cluster)
        super().__init__(f"the cluster {cluster.name} {reason}")


class WaitTimeout(ClientError):
    """The wait timed out; `cluster` is the last response."""

    def __init__(self, cluster: Cluster, wanted: str, seconds: float) -> None:
        now = "paused" if cluster.phase == "ready" and cluster.paused else cluster.phase
        super().__init__(f"the cluster {cluster.name} is {now}, not {wanted}, after {seconds:.0f} s")
        self.cluster = cluster


class BakeFailed(ClientError):
    """The bake has ended without an image; `bake.error` has the reason. `code`: the error's, else `cancelled`."""

    def __init__(self, bake: Bake) -> None:
        self.bake = bake
        self.code = "cancelled" if bake.error is None else bake.error.code
        reason = f"is {bake.phase}" if bake.error is None else f"failed: [{bake.error.code}] {bake.error.message}"
        super().__init__(f"the bake {bake.id} of {bake.recipe} {reason}")


class BakeTimeout(ClientError):
    """The wait timed out; `bake` is the last response."""

    def __init__(self, bake: Bake, seconds: float) -> None:
        super().__init__(f"the bake {bake.id} of {bake.recipe} is {bake.phase} after {seconds:.0f} s")
        self.bake = bake


def _failure(cluster: Cluster) -> tuple[str, str]:
    """The code, and a predicate that is true of the cluster now."""
    if cluster.error is not None:
        return cluster.error.code, f"failed: [{cluster.error.code}] {cluster.error.message}"
    if cluster.phase == "deleted":
        return "deleted", "is deleted"
    if cluster.desired == "absent":
        return "deleted", "is being deleted"
    if cluster.desired == "hibernated":
        return "not_ready", f"is {'' if cluster.phase == 'hibernated' else 'being '}hibernated"
    if cluster.phase == "ready":
        return "not_hibernated", "is ready, not hibernated"
    return "not_ready", f"is {cluster.phase}"
