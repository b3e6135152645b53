"""The status of the installation, with a fresh request to the engine."""

from __future__ import annotations

import httpx

from dayfly.errors import EngineUnavailable
from dayfly.store import NewCluster, NewPool, Store
from tests.support.api import Infrastructure, Worker
from tests.support.specs import make_spec


async def test_an_idle_installation(http: httpx.AsyncClient) -> None:
    status = (await http.get("/v1/status")).json()
    assert set(status["clusters"].values()) == {0}
    assert "deleted" not in status["clusters"]
    assert (status["owners"], status["pools"]) == ([], [])
    assert status["queue"] == {"waiting": 0, "oldest_at": None}
    assert status["host"]["reserved"] == {"vcpus": 0, "memory_mib": 0, "disk_gib": 0}
    assert status["host"]["offered"]["vcpus"] > 0
    assert status["engine"] == {
        "name": "Docker",
        "version": "26.1",
        "api_version": "1.45",
        "kernel": "6.1",
        "image_store": "overlay2",
        "error": None,
    }


async def test_who_uses_what_and_who_waits(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    await store.clusters.create(NewCluster("ready", make_spec(), owner="one"))
    await worker.make()
    for name in ("a", "b"):
        await store.clusters.create(NewCluster(name, make_spec(), owner="two"))
    await store.pools.create(NewPool("warm", "three", make_spec(), size=2, maximum=4))
    status = (await http.get("/v1/status")).json()
    assert (status["clusters"]["ready"], status["clusters"]["pending"]) == (1, 2)
    assert [(one["owner"], one["clusters"], one["waiting"]) for one in status["owners"]] == [
        ("one", 1, 0),
        ("two", 2, 2),
    ]
    assert status["owners"][0]["reserved"] == status["host"]["reserved"]
    assert status["owners"][0]["reserved"]["vcpus"] > 0
    assert status["queue"]["waiting"] == 2
    assert status["queue"]["oldest_at"] is not None
    (pool,) = status["pools"]
    assert (pool["name"], pool["owner"], pool["desired_size"], pool["ready"]) == ("warm", "three", 2, 0)


async def test_an_engine_that_does_not_answer_is_told_and_nothing_of_it_is_remembered(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    assert (await http.get("/v1/status")).json()["engine"]["version"] == "26.1"
    infrastructure.engine.error = EngineUnavailable("dial unix /secret.sock: connection refused")
    engine = (await http.get("/v1/status")).json()["engine"]
    assert engine.pop("error") == "the engine did not answer (engine_unavailable)"
    assert set(engine.values()) == {None}
