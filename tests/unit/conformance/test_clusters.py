"""A served cluster is reset to what it was: a fork stays a fork."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import pytest

from dayfly.client import Client
from tests.conformance.clusters import NotForked, served

BAKED = "dayfly/k8s-debian:7057ad039781"


@dataclass
class Seen:
    """What a cluster's response has that a run reads."""

    template: str | None
    heartbeat_interval_seconds: int | None = None
    not_forked_because: str | None = None
    id: str = "c1"
    name: str = "demo"
    image: str = "dayfly/k8s-debian:latest"
    image_digest: str = "7057ad039781cafe"
    kubernetes_version: str = "v1.20.2"


@dataclass
class StandIn:
    """A client of one cluster. `calls`: what changes the cluster, or keeps it."""

    seen: Seen
    push: str = "127.0.0.1:5001"
    calls: list[str] = field(default_factory=list)

    def wait_ready(self, _cluster: str, *, timeout_seconds: float) -> Seen:
        return self.seen

    def kubeconfig(self, _cluster: str) -> str:
        return "a kubeconfig"

    def registry(self, _cluster: str) -> StandIn:
        return self

    def keep_alive(self, _cluster: str) -> AbstractContextManager[None]:
        self.calls.append("keep_alive")
        return nullcontext()

    def reset(self, _cluster: str) -> None:
        self.calls.append("reset")


@pytest.mark.parametrize(("template", "kind"), [(None, "cold"), ("t1", "fork")])
def test_a_served_cluster_is_of_a_kind_and_can_be_reset(template: str | None, kind: str) -> None:
    client = StandIn(Seen(template))
    with served(cast("Client", client), "demo") as target:
        assert (target.kind, target.registry, target.image) == (kind, "127.0.0.1:5001", BAKED)
        assert target.kubeconfig.read_text() == "a kubeconfig"
        assert target.kubeconfig.stat().st_mode & 0o777 == 0o600
        target.prepare([])
    assert client.calls == ["reset"]
    assert not target.kubeconfig.exists()


def test_a_cluster_with_a_heartbeat_gets_it() -> None:
    client = StandIn(Seen(None, heartbeat_interval_seconds=60))
    with served(cast("Client", client), "demo"):
        assert client.calls == ["keep_alive"]


def test_a_fork_that_was_reset_from_its_image_ends_the_run() -> None:
    client = StandIn(Seen("t1"))
    with served(cast("Client", client), "demo") as target:
        client.seen = Seen("t1", not_forked_because="the template is gone")
        with pytest.raises(NotForked, match="the template is gone"):
            target.prepare([])
