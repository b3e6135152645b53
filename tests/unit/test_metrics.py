"""Metrics of a worker process: steps, sweeps, and its own port."""

from __future__ import annotations

from typing import cast
from urllib.request import urlopen

import pytest

from dayfly import metrics
from dayfly.clock import SystemClock
from dayfly.controllers.cluster.event_recorder import EventRecorder
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import EngineUnavailable, PortsExhausted, SshTimeout
from dayfly.process import metrics_server
from dayfly.store import Claim, Store


def sample(name: str, **labels: str) -> float:
    found = metrics.REGISTRY.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


async def test_attempts_at_steps_are_measured_and_failures_counted_by_code() -> None:
    recorder = EventRecorder(cast("Store", None), cast("Claim", None), SystemClock())
    name = "dayfly_step_duration_seconds_count"
    done, failed = sample(name, step="boot", result="done"), sample(name, step="boot", result="failed")
    timeouts = sample("dayfly_step_failures_total", code="ssh_timeout")
    planned = PlannedStep("boot", 1)
    recorder.step(planned, 1).failed(SshTimeout("no answer"), again_in_seconds=2.0)
    recorder.step(planned, 2).done(already=False)
    recorder.step(planned, 3).done(already=True)
    assert sample(name, step="boot", result="done") == done + 1
    assert sample(name, step="boot", result="failed") == failed + 1
    assert sample("dayfly_step_failures_total", code="ssh_timeout") == timeouts + 1


def test_sweeps_are_measured_by_result() -> None:
    labels = {"sweep": "garbage_collection"}
    name = "dayfly_sweep_duration_seconds_count"
    done, failed = sample(name, **labels, result="done"), sample(name, **labels, result="failed")
    with pytest.raises(EngineUnavailable), metrics.measured_sweep("garbage_collection", SystemClock()):
        raise EngineUnavailable("away")
    assert sample(name, **labels, result="failed") == failed + 1
    with metrics.measured_sweep("garbage_collection", SystemClock()):
        pass
    assert sample(name, **labels, result="done") == done + 1
    assert sample("dayfly_sweep_last_success_timestamp_seconds", **labels) > 1e9


def test_a_worker_serves_the_metrics_of_its_process_on_a_port_of_its_own() -> None:
    with metrics_server("127.0.0.1", 0) as port, urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "dayfly_reconcile_duration_seconds_count" in text
    assert "dayfly_clusters{" not in text, "the store's numbers are those of the API"


def test_a_port_that_is_taken_is_one_sentence() -> None:
    taken = pytest.raises(PortsExhausted, match=r"^a worker's metrics cannot be served on port \d+ at 127.0.0.1 ")
    with metrics_server("127.0.0.1", 0) as port, taken, metrics_server("127.0.0.1", port):
        pass
