"""A response about a part of a cluster says which cluster: its body does not, and a client compares."""

from __future__ import annotations

import httpx
import pytest

from dayfly.schemas.base import CLUSTER_HEADER
from tests.support.api import Worker

PARTS = [
    ("GET", "kubeconfig"),
    ("GET", "registry"),
    ("GET", "ports"),
    ("GET", "nodes"),
    ("GET", "nodes/node01/ssh"),
    ("GET", "nodes/node01/console"),
    ("GET", "events"),
    ("GET", "checkpoints"),
    ("GET", "diagnostics"),
    ("POST", "heartbeat"),
]
"""Every part of openapi.json without the cluster's own id and name in its body; checkpoints and evidence are below."""


async def create(http: httpx.AsyncClient, worker: Worker) -> str:
    body = {"name": "demo", "image": "k8s", "heartbeat_interval_seconds": 600}
    identity: str = (await http.post("/v1/clusters", json=body)).json()["id"]
    await worker.make()
    return identity


@pytest.mark.parametrize(("method", "part"), PARTS)
async def test_it_is_named_by_id_and_name(http: httpx.AsyncClient, worker: Worker, method: str, part: str) -> None:
    identity = await create(http, worker)
    for asked in ("demo", identity):
        answer = await http.request(method, f"/v1/clusters/{asked}/{part}")
        assert answer.status_code == 200, answer.text
        assert answer.headers[CLUSTER_HEADER] == f"{identity} demo"


async def test_a_checkpoints_cluster_is_named(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = await create(http, worker)
    made = await http.post("/v1/clusters/demo/checkpoints", json={"name": "before"})
    assert made.status_code == 202, made.text
    for answer in (
        made,
        await http.get("/v1/clusters/demo/checkpoints/before"),
        await http.delete("/v1/clusters/demo/checkpoints/before"),
    ):
        assert answer.headers[CLUSTER_HEADER] == f"{identity} demo"


async def test_evidence_is_of_the_named_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = (await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})).json()["id"]
    await worker.fail({"logs": "x"})
    answer = await http.get(f"/v1/clusters/{identity}/evidence/logs")
    assert (answer.text, answer.headers[CLUSTER_HEADER]) == ("x", f"{identity} demo")


async def test_every_part_is_in_the_table(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    prefix = "/v1/clusters/{cluster}/"
    found = {
        (method.upper(), path.removeprefix(prefix))
        for path in paths
        if path.startswith(prefix)
        for method in paths[path]
    }
    own_body = {("POST", "reset"), ("POST", "hibernate"), ("POST", "resume")}
    elsewhere = {
        ("POST", "checkpoints"),
        ("GET", "checkpoints/{name}"),
        ("DELETE", "checkpoints/{name}"),
        ("GET", "evidence/{name}"),
    }
    here = {(method, part.replace("node01", "{node}")) for method, part in PARTS}
    assert found == here | own_body | elsewhere
