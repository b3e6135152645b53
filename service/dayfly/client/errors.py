"""What can go wrong for a caller.

ClientError
├── ApiError         the server said no; `code` is stable
├── Unreachable      no server answered
├── ClusterFailed    waited for a cluster that failed, or was deleted meanwhile
└── WaitTimeout      waited, and it took longer
"""

from __future__ import annotations

from collections.abc import Mapping

from dayfly.schemas.clusters import Cluster


class ClientError(Exception):
    """Root of the tree."""


class ApiError(ClientError):
    """The server said no. `problem` is the whole RFC 9457 document; `detail` is for people."""

    def __init__(self, code: str, status: int, detail: str, problem: Mapping[str, object]) -> None:
        super().__init__(f"[{code}] {detail}")
        self.code = code
        self.status = status
        self.detail = detail
        self.problem = problem


class Unreachable(ClientError):
    """No server answered at `url`."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url
        self.reason = reason


class ClusterFailed(ClientError):
    """A cluster that was waited for can no more become as wanted; `cluster.error` says why, where it failed."""

    def __init__(self, cluster: Cluster) -> None:
        error = cluster.error
        reason = f"failed: [{error.code}] {error.message}" if error else f"is {cluster.phase}"
        super().__init__(f"the cluster {cluster.name} {reason}")
        self.cluster = cluster


class WaitTimeout(ClientError):
    """What was waited for took longer than allowed; `cluster` is how it stood last."""

    def __init__(self, cluster: Cluster, wanted: str, seconds: float) -> None:
        super().__init__(f"the cluster {cluster.name} is {cluster.phase}, not {wanted}, after {seconds:.0f} s")
        self.cluster = cluster
