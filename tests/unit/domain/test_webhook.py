"""The rules of retries, of disabled webhooks, and the body of a call."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Fault
from dayfly.domain.webhook import (
    DISABLED_AFTER,
    LONGEST_RETRY,
    RETRIES,
    NewAttempt,
    call_message,
    cluster_message,
    event_of,
    next_attempt,
    why_disabled,
)
from dayfly.schemas.base import ResponseModel
from dayfly.schemas.webhooks import WebhookMessage
from dayfly.store.clusters.create import new_cluster
from dayfly.vocabulary import WebhookEvent
from tests.support.specs import make_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_attempts_go_on_for_a_day_with_growing_pauses(draw: float) -> None:
    times, now = [NOW], NOW
    while (at := next_attempt(len(times), NOW, now, draw)) is not None:
        times.append(now := at)
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert times[-1] == NOW + RETRIES, "the last attempt is at the end of the day"
    assert timedelta(seconds=4) <= pauses[0] <= timedelta(seconds=6)
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses) <= LONGEST_RETRY * 1.2
    assert 10 <= len(times) <= 20


def test_a_very_late_attempt_is_the_last() -> None:
    assert next_attempt(1, NOW, NOW + RETRIES, 0.5) is None
    assert next_attempt(1000, NOW, NOW, 0.5) == NOW + LONGEST_RETRY


@pytest.mark.parametrize(
    ("type_", "phase", "expected"),
    [
        ("phase", Phase.READY, WebhookEvent.READY),
        ("phase", Phase.FAILED, WebhookEvent.FAILED),
        ("phase", Phase.HIBERNATED, WebhookEvent.HIBERNATED),
        ("phase", Phase.DELETED, WebhookEvent.DELETED),
        ("phase", Phase.PROVISIONING, None),
        ("phase", Phase.DELETING, None),
        ("cluster.expiring", Phase.READY, WebhookEvent.EXPIRING),
        ("cluster.changed", Phase.READY, None),
    ],
)
def test_what_webhooks_are_called_for(type_: str, phase: Phase, expected: WebhookEvent | None) -> None:
    assert event_of(type_, phase) is expected


def test_a_webhook_is_disabled_after_days_of_failure_or_by_its_receiver() -> None:
    failed = NewAttempt(0.1, 500, "webhook_refused", "the receiver answered 500")
    assert why_disabled(failed, NOW, NOW + DISABLED_AFTER - timedelta(seconds=1)) is None
    reason = why_disabled(failed, NOW, NOW + DISABLED_AFTER)
    assert reason == "all calls since 2026-01-01 00:00 UTC failed, the last with webhook_refused"
    assert why_disabled(replace(failed, status=410), NOW, NOW) == "the receiver answered 410 Gone"


def test_the_body_of_a_call_is_what_the_openapi_document_says() -> None:
    cluster = replace(
        new_cluster(make_spec(), NOW, name="demo", owner="ci"),
        phase=Phase.FAILED,
        fault=Fault("vm_exited", "QEMU ended", "boot", "node01", {"console": "secret of a guest"}),
    )
    body = cluster_message(WebhookEvent.FAILED, NOW, cluster)
    message = WebhookMessage.model_validate_json(body)
    assert (message.type, message.timestamp, message.data.team) == (WebhookEvent.FAILED, NOW, "ci")
    assert message.data.cluster is not None
    assert (message.data.cluster.name, message.data.cluster.ready_at) == ("demo", None)
    assert message.data.cluster.error is not None
    assert message.data.cluster.error.code == "vm_exited"
    assert "secret" not in body
    assert json.loads(body) == _documented(message), "the document has every field"
    test = WebhookMessage.model_validate_json(call_message(NOW, "ci"))
    assert (test.type, test.data.cluster) == ("test", None)


def _documented(message: ResponseModel) -> object:
    return json.loads(message.model_dump_json())
