"""Metrics of a worker process: steps, sweeps, and its own port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import httpx
import pytest
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from structlog.testing import capture_logs

from dayfly import metrics
from dayfly.api.server import METRICS_CONNECTIONS, Server, create_metrics_server, metrics_socket
from dayfly.clock import SystemClock
from dayfly.controllers.cluster.event_recorder import EventRecorder
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import EngineUnavailable, PortsExhausted, SshTimeout
from dayfly.settings import Settings
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


@asynccontextmanager
async def worker_metrics(**settings: object) -> AsyncIterator[tuple[Server, tuple[str, int]]]:
    """The metrics as `dayfly worker` serves them, on a free port; its address."""
    closing = asyncio.Event()
    server = create_metrics_server(Settings(**settings), closing)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            yield server, listener.getsockname()
            closing.set()
            server.should_exit = True


async def test_a_worker_serves_the_metrics_of_its_process_on_a_port_of_its_own() -> None:
    async with worker_metrics() as (_, (host, port)), httpx.AsyncClient(timeout=10) as http:
        answer = await http.get(f"http://{host}:{port}/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE_PLAIN_0_0_4)
    assert "dayfly_reconcile_duration_seconds_count" in answer.text
    assert "dayfly_clusters{" not in answer.text, "the store's numbers are those of the API"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/metrics", {"Host": "evil.example"}, 421, "host_not_allowed"),
        ("/metrics", {"Origin": "http://evil.example"}, 403, "foreign_origin"),
        ("/metrics", {"Sec-Fetch-Site": "cross-site"}, 403, "foreign_origin"),
        ("/metrics?x=" + "x" * 17_000, {}, 414, "uri_too_long"),
        ("/v1/clusters", {}, 404, "not_found"),
    ],
)
async def test_a_workers_metrics_have_the_checks_of_the_api(
    path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with worker_metrics() as (_, (host, port)), httpx.AsyncClient(timeout=10) as http:
        answer = await http.get(f"http://{host}:{port}{path}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(("path", "status"), [("/metrics", 405), ("/v1/clusters", 404)])
async def test_a_request_for_a_change_is_refused_without_a_record(
    caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    """A worker's port has no store, and no caller is asked for a token: strangers must not fill the log."""
    with capture_logs() as logged:
        async with worker_metrics() as (_, (host, port)), httpx.AsyncClient(timeout=10) as http:
            answer = await http.post(f"http://{host}:{port}{path}")
    assert answer.status_code == status
    assert (logged, caplog.text) == ([], "")


async def test_half_sent_requests_keep_nobody_from_a_workers_metrics() -> None:
    async with worker_metrics(header_timeout_seconds=60) as (server, (host, port)):
        half = [await asyncio.open_connection(host, port) for _ in range(100)]
        for _, writer in half:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-")
        async with httpx.AsyncClient(timeout=10) as http:
            assert (await http.get(f"http://{host}:{port}/metrics")).status_code == 200
        assert len(server.server_state.connections) <= METRICS_CONNECTIONS
        for _, writer in half:
            writer.transport.abort()


async def test_a_workers_metrics_give_headers_a_deadline() -> None:
    async with worker_metrics(header_timeout_seconds=0.05) as (_, (host, port)):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.transport.abort()


def test_a_port_that_is_taken_is_one_sentence() -> None:
    taken = pytest.raises(PortsExhausted, match=r"^a worker's metrics cannot be served on port \d+ at 127.0.0.1 ")
    with metrics_socket(Settings(), 0) as listener, taken:
        metrics_socket(Settings(), listener.getsockname()[1])
