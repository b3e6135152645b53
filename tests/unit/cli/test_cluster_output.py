"""Sentences about clusters are true in each state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dayfly.cli import cluster_output
from dayfly.cli.errors import explain
from dayfly.cli.formatting import format_table
from dayfly.cli.progress.cluster import format_event
from dayfly.client import Client, Cluster, ClusterFailed, ErrorReport, Event


@pytest.fixture(scope="module")
def cluster(url: str) -> Cluster:
    with Client(url) as client:
        return client.create("slow-sentences", image="bare")


def changed(cluster: Cluster, **changes: object) -> Cluster:
    return cluster.model_copy(update=changes)


def test_a_ready_cluster_that_is_being_deleted(cluster: Cluster) -> None:
    leaving = changed(cluster, phase="ready", ready_at=cluster.created_at, desired="absent")
    for sentence in (cluster_output.sentence, cluster_output.state, cluster_output.ttl_sentence):
        assert sentence(leaving) == "slow-sentences is being deleted"


def test_a_deleted_cluster(cluster: Cluster) -> None:
    deleted = changed(cluster, phase="deleted", desired="absent", queue_position=None)
    for sentence in (cluster_output.sentence, cluster_output.state, cluster_output.ttl_sentence):
        assert sentence(deleted) == "slow-sentences is deleted"


def test_a_failed_cluster(cluster: Cluster) -> None:
    failed = changed(cluster, phase="failed", queue_position=None)
    assert cluster_output.ttl_sentence(failed) == "slow-sentences failed and never expires; not held"


def test_the_hint_of_a_failure_is_the_steps_own_text_or_everything(cluster: Cluster) -> None:
    evidence = ("containers.json", "join/stderr", "kubernetes/pods")
    for step, hint in (("join", "evidence slow-sentences join/stderr"), ("boot", "diagnostics slow-sentences")):
        fault = ErrorReport(code="join", message="x", step=step, node=None, evidence=evidence)
        explained = explain(ClusterFailed(changed(cluster, phase="failed", error=fault)))
        assert explained is not None
        assert explained.hint == f"dayfly cluster {hint}"


def test_lifetimes(cluster: Cluster) -> None:
    now = datetime.now(UTC)
    assert cluster_output.lifetime(cluster) == "never expires"
    assert cluster_output.lifetime(changed(cluster, ttl_seconds=60)) == "expires 1 min 00 s after it is ready"
    past = changed(cluster, expires_at=now - timedelta(hours=1), expires_because="heartbeat")
    assert cluster_output.lifetime(past).startswith("expired at ")
    assert cluster_output.lifetime(past).endswith(" UTC")
    soon = changed(cluster, expires_at=now + timedelta(hours=2, seconds=30), expires_because="heartbeat")
    assert cluster_output.lifetime(soon).endswith("in 2 h 00 min, unless a heartbeat comes")


def test_an_expired_cluster_under_a_hold_has_not_failed_by_itself(cluster: Cluster) -> None:
    error = ErrorReport(
        code="expired", message="its caller sent no heartbeat in time", step=None, node=None, evidence=()
    )
    kept = changed(cluster, phase="failed", error=error)
    assert "phase       failed (expired)" in cluster_output.description(kept)
    assert "\n\nexpired: its caller sent no heartbeat in time" in cluster_output.description(kept)
    explanation = explain(ClusterFailed(kept))
    assert explanation is not None
    assert explanation.detail == "cluster slow-sentences expired: its caller sent no heartbeat in time"


def test_a_ready_cluster_says_what_it_was_made_from(cluster: Cluster) -> None:
    ready = changed(cluster, phase="ready", ready_at=cluster.created_at + timedelta(seconds=5))
    fork = changed(ready, template="0123456789ab")
    booted = changed(ready, not_forked_because="its isolation is strict")
    assert cluster_output.sentence(ready) == "slow-sentences is ready (5.0 s)"
    assert cluster_output.sentence(fork) == "slow-sentences is ready (5.0 s, a fork of template 0123456789ab)"
    assert cluster_output.sentence(booted) == "slow-sentences is ready (5.0 s, from its image: its isolation is strict)"
    assert "\nfrom image  its isolation is strict\n" in cluster_output.description(booted)
    reset = changed(fork, not_forked_because="its fork failed: no")
    assert cluster_output.sentence(reset) == "slow-sentences is ready (5.0 s, from its image: its fork failed: no)"


def test_a_message_is_one_line_whoever_wrote_it(cluster: Cluster) -> None:
    forged = "refused\nphase       ready\r\n\x1b[2J"
    line = "refused phase       ready \\x1b[2J"
    fault = ErrorReport(code="not_usable", message=forged, step=None, node=None, evidence=())
    failed = changed(cluster, phase="failed", error=fault, not_forked_because=forged)
    assert cluster_output.description(failed).count("\nphase  ") == 1
    assert f"\nerror [not_usable]: {line}" in cluster_output.description(failed)
    explanation = explain(ClusterFailed(failed))
    assert explanation is not None
    assert explanation.lines.splitlines()[0].endswith(line)
    assert format_table(("DETAIL",), [(forged,)]) == f"DETAIL\n{line}"
    at = {"id": 1, "at": "2026-01-01T00:00:00Z", "type": "x", "message": forged}
    event = Event.model_validate({**dict.fromkeys(("step", "node", "seconds", "code")), **at})
    assert format_event(event, event.at) == f"[     0.0s] {line}"
