"""/metrics by Prometheus' conventions: names, units, help, and samples of each metric from the start."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from dayfly import metrics
from dayfly.api.system.routes_metrics import MAX_OWNERS, OTHER_OWNERS
from dayfly.app import STEPS
from dayfly.errors import DatabaseUnavailable, EngineUnavailable
from dayfly.store import NewCluster, NewPool, Store
from tests.support.api import HOST, ApiHttp, Infrastructure, Worker
from tests.support.specs import make_spec


async def families(http: httpx.AsyncClient) -> Mapping[str, Metric]:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


async def value(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in (await families(http)).values()
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


async def test_each_metric_has_help_a_type_a_base_unit_and_samples(http: httpx.AsyncClient, store: Store) -> None:
    fresh = await families(http)
    await store.pools.create(NewPool("ci", "default", make_spec(), size=1, maximum=1))
    answer = (await http.get("/metrics")).text
    found = await families(http)
    assert set(found) - set(fresh) == {"dayfly_pool_members"}, "by the names of pools, which no fresh server has"
    assert all(family.samples for family in (*fresh.values(), *found.values()))
    for name, family in found.items():
        assert re.fullmatch(r"dayfly_[a-z_]+", name)
        assert family.documentation.endswith("."), name
        assert family.type in {"counter", "gauge", "histogram"}, name
        assert not re.search(r"_(ms|milliseconds|minutes|mib|gib|kb|percent)(_|$)", name), name
        if family.type == "counter":
            assert f"# TYPE {name}_total counter" in answer
        else:
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        for word in ("duration", "timestamp", "wait"):
            assert word not in name.split("_") or name.endswith("_seconds"), name
        for word in ("memory", "disk"):
            assert word not in name.split("_") or name.endswith("_bytes"), name
    lines = [line.split(" ", 3)[:3] for line in answer.splitlines() if line.startswith("# TYPE")]
    assert len(lines) == len({tuple(line) for line in lines}), "one family, one TYPE"


def test_the_closed_sets_are_complete() -> None:
    assert set(metrics.STEPS) == {*STEPS, "teardown"}
    assert {"ssh_timeout", "engine_unavailable", "internal"} <= set(metrics.CODES)


async def test_labels_of_closed_sets_have_samples_from_the_start(http: httpx.AsyncClient) -> None:
    found = {
        (sample.name, frozenset(sample.labels.values()))
        for family in (await families(http)).values()
        for sample in family.samples
    }
    for code in metrics.CODES:
        assert ("dayfly_cluster_failures_total", frozenset({code})) in found
    for step in metrics.STEPS:
        assert ("dayfly_step_duration_seconds_count", frozenset({step, "failed"})) in found
    for status in metrics.STATUS_CLASSES:
        reset = frozenset({"POST", "/v1/clusters/{cluster}/reset", status})
        assert ("dayfly_http_requests_total", reset) in found
    for state in ("ready", "provisioning", "failed", "deleting"):
        assert await value(http, "dayfly_members", state=state) == 0


async def test_clusters_and_reservations_are_by_owner(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    assert await value(http, "dayfly_clusters", owner="default", phase="ready") == 0
    await store.clusters.create(NewCluster(None, make_spec(), "alice"))
    await worker.make()
    await store.clusters.create(NewCluster(None, make_spec(), "bob"))
    assert await value(http, "dayfly_clusters", owner="alice", phase="ready") == 1
    assert await value(http, "dayfly_clusters", owner="bob", phase="pending") == 1
    assert await value(http, "dayfly_reserved_memory_bytes", owner="alice") > 2**20
    assert await value(http, "dayfly_queue_clusters") == 1
    assert await value(http, "dayfly_queue_oldest_timestamp_seconds") > 1e9
    assert await value(http, "dayfly_host_memory_bytes") == HOST.memory_mib * 2**20


async def test_the_number_of_owners_is_bounded(http: httpx.AsyncClient, store: Store) -> None:
    for number in range(MAX_OWNERS + 2):
        await store.clusters.create(NewCluster(None, make_spec(), f"o{number}"))
    samples = (await families(http))["dayfly_clusters"].samples
    assert len({sample.labels["owner"] for sample in samples}) == MAX_OWNERS + 1
    assert sum(sample.value for sample in samples) == MAX_OWNERS + 2
    assert await value(http, "dayfly_clusters", owner=OTHER_OWNERS, phase="pending") == 3


async def test_admissions_are_counted_with_their_wait(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    before = await value(http, "dayfly_queue_wait_seconds_count")
    await store.clusters.create(NewCluster(None, make_spec()))
    await worker.make()
    assert await value(http, "dayfly_queue_wait_seconds_count") == before + 1


async def test_an_engine_without_an_answer_is_down_and_the_size_unknown(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    assert await value(http, "dayfly_engine_up") == 1
    infrastructure.engine.error = EngineUnavailable("away")
    infrastructure.host.broken = EngineUnavailable("away")
    assert await value(http, "dayfly_engine_up") == 0
    assert math.isnan(await value(http, "dayfly_offered_vcpus"))


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_database_without_an_answer_is_down_and_the_process_still_shows_its_own(
    store: Store, infrastructure: Infrastructure, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    async def away(*_: object) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise DatabaseUnavailable("away")

    services = infrastructure.services(store)
    async with ApiHttp(services) as http:
        assert await value(http, "dayfly_database_up") == 1
        monkeypatch.setattr(store.statistics, "count_forks", away)
        if hangs:
            services.lookups.seconds = 0.5
        found = await families(http)
        for task in services.lookups.unfinished:
            task.cancel()
    assert found["dayfly_database_up"].samples[0].value == 0
    assert found["dayfly_engine_up"].samples[0].value == 1
    assert found["dayfly_host_memory_bytes"].samples[0].value == HOST.memory_mib * 2**20
    assert found["dayfly_queue_wait_seconds"].samples
    assert "dayfly_clusters" not in found, "numbers of another time would be wrong"


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/v1/clusters/none-such", "/v1/clusters/{cluster}", "4xx"),
        ("GET", "/v1/version", "/v1/version", "2xx"),
        ("GET", "/nowhere/at/all", "none", "4xx"),
        ("PROPFIND", "/v1/clusters", "none", "4xx"),
    ],
)
async def test_requests_are_counted_by_route_template(
    http: httpx.AsyncClient, method: str, path: str, route: str, status: str
) -> None:
    labels = {"method": method if method == "GET" else "other", "route": route}
    before = await value(http, "dayfly_http_requests_total", **labels, status=status)
    timed = await value(http, "dayfly_http_request_duration_seconds_count", **labels)
    await http.request(method, path)
    assert await value(http, "dayfly_http_requests_total", **labels, status=status) == before + 1
    assert await value(http, "dayfly_http_request_duration_seconds_count", **labels) == timed + 1


async def test_a_refused_request_is_counted(http: httpx.AsyncClient) -> None:
    before = await value(http, "dayfly_http_requests_total", method="GET", route="none", status="4xx")
    assert (await http.get("/v1/version", headers={"Host": "evil.example"})).status_code == 421
    assert await value(http, "dayfly_http_requests_total", method="GET", route="none", status="4xx") == before + 1
