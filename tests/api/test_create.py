"""POST /v1/clusters."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta

import httpx
import pytest

from dayfly.api import idempotency
from dayfly.errors import ImageMissing
from dayfly.schemas.base import RequestModel
from dayfly.schemas.checkpoints import CheckpointRequest, ResetRequest
from dayfly.schemas.cluster_requests import ClusterRequest, HoldRequest, ShapeRequest, WorkersRequest
from dayfly.schemas.pools import PeriodRequest, PoolRequest
from dayfly.schemas.templates import TemplateRequest
from dayfly.store import IdempotencyKey, NewCluster, Store
from tests.support.api import Infrastructure, Worker
from tests.support.specs import IMAGE_DIGEST, IMAGE_ID, make_spec


async def test_it_is_accepted_with_a_location(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/clusters", json={"name": "demo", "image": "bare", "workers": {"count": 2}})
    assert answer.status_code == 202
    cluster = answer.json()
    assert answer.headers["location"] == f"/v1/clusters/{cluster['id']}"
    assert (await http.get(answer.headers["location"])).json()["name"] == "demo"
    assert cluster["phase"] == "pending"
    assert cluster["desired"] == "present"
    assert cluster["image"] == "dayfly/bare:latest"
    assert cluster["image_id"] == IMAGE_ID
    assert cluster["image_digest"] == IMAGE_DIGEST
    assert cluster["error"] is None
    assert cluster["steps"] == []


async def test_sizes_left_out_are_the_images(http: httpx.AsyncClient) -> None:
    body = {
        "image": "bare",
        "control_plane": {"vcpus": 4},
        "workers": {"count": 1, "memory_mib": 300, "disk_gib": None},
    }
    cluster = (await http.post("/v1/clusters", json=body)).json()
    assert cluster["control_plane"] == {"vcpus": 4, "memory_mib": 512, "disk_gib": 8}
    assert cluster["workers"] == {"count": 1, "vcpus": 2, "memory_mib": 300, "disk_gib": 8}


async def test_a_name_is_made_where_none_is_given(http: httpx.AsyncClient) -> None:
    names = {(await http.post("/v1/clusters", json={"image": "bare"})).json()["name"] for _ in range(3)}
    assert len(names) == 3


async def test_a_ttl_becomes_an_expiry_once_it_is_ready(http: httpx.AsyncClient, worker: Worker) -> None:
    waiting = (await http.post("/v1/clusters", json={"name": "demo", "image": "bare", "ttl_seconds": 90})).json()
    assert waiting["expires_at"] is None
    await worker.make()
    cluster = (await http.get("/v1/clusters/demo")).json()
    lifetime = datetime.fromisoformat(cluster["expires_at"]) - datetime.fromisoformat(cluster["ready_at"])
    assert lifetime == timedelta(seconds=90)


async def test_ports_of_nodes_are_published(http: httpx.AsyncClient, worker: Worker) -> None:
    ports = [{"name": "web", "port": 30080}, {"name": "db", "node": "node02", "port": 5432}]
    body = {"name": "demo", "image": "bare", "workers": {"count": 1}, "ports": ports}
    resolved = [{"name": "web", "node": "node01", "address": None, "port": 30080}, {**ports[1], "address": None}]
    tried = (await http.post("/v1/clusters?dry_run=true", json=body)).json()
    made = (await http.post("/v1/clusters", json=body)).json()
    assert tried["ports"] == made["ports"] == resolved
    listed = (await http.get("/v1/clusters/demo/ports")).json()["ports"]
    assert [one["leads_to"] for one in listed] == ["registry", "ssh/node01", "ssh/node02", "ports/web", "ports/db"]
    assert (await http.post("/v1/clusters", json={"image": "bare"})).json()["ports"] == []


async def test_a_port_of_a_node_that_does_not_exist_is_told(http: httpx.AsyncClient) -> None:
    body = {"image": "bare", "workers": {"count": 1}, "ports": [{"name": "web", "node": "node03", "port": 80}]}
    answer = await http.post("/v1/clusters", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"] == "ports.0.node: the cluster has no node03: its nodes are node01 to node02"


async def test_a_port_of_a_services_address_is_published(http: httpx.AsyncClient) -> None:
    ports = [
        {"name": "web", "address": "192.168.67.10", "port": 80},
        {"name": "db", "address": "10.96.0.77", "port": 5432},
    ]
    body = {"name": "demo", "image": "k8s", "ports": ports}
    resolved = [{**port, "node": None} for port in ports]
    tried = (await http.post("/v1/clusters?dry_run=true", json=body)).json()
    made = (await http.post("/v1/clusters", json=body)).json()
    assert tried["ports"] == made["ports"] == resolved
    listed = (await http.get("/v1/clusters/demo/ports")).json()["ports"]
    assert [one["leads_to"] for one in listed][-2:] == ["ports/web", "ports/db"]


@pytest.mark.parametrize(
    ("image", "address", "detail"),
    [
        ("k8s", "192.168.66.101", "192.168.66.101 is no address of a Service: a Service of type LoadBalancer has one"),
        ("k8s", "192.168.67.255", "192.168.67.255 is no address of a Service"),
        ("bare", "192.168.67.10", "an image without Kubernetes has no Services: name a node instead"),
    ],
)
async def test_an_address_that_is_no_services_is_told(
    http: httpx.AsyncClient, image: str, address: str, detail: str
) -> None:
    body = {"image": image, "ports": [{"name": "a", "port": 80}, {"name": "web", "address": address, "port": 80}]}
    answer = await http.post("/v1/clusters", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"ports.1.address: {detail}")


async def test_ports_are_part_of_what_a_key_was_used_for(http: httpx.AsyncClient) -> None:
    body = {"image": "bare", "ports": [{"name": "web", "port": 80}]}
    headers = {"Idempotency-Key": "job-17"}
    first = await http.post("/v1/clusters", json=body, headers=headers)
    again = await http.post("/v1/clusters", json=body, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("image", "asked", "promised"), [("bare", None, "booted"), ("k8s", None, "usable"), ("k8s", "nodes", "nodes")]
)
async def test_readiness_is_what_the_image_can_promise(
    http: httpx.AsyncClient, image: str, asked: str | None, promised: str
) -> None:
    body = {"image": image} | ({"readiness": asked} if asked else {})
    assert (await http.post("/v1/clusters", json=body)).json()["readiness"] == promised


async def test_a_dry_run_resolves_all_and_makes_nothing(http: httpx.AsyncClient, store: Store) -> None:
    answer = await http.post("/v1/clusters?dry_run=true", json={"name": "demo", "image": "k8s"})
    assert answer.status_code == 200
    assert answer.json()["kubernetes_version"] == "v1.20.2"
    assert answer.json()["control_plane"]["vcpus"] == 2
    assert (await store.clusters.list()).clusters == ()


async def test_a_dry_run_sees_a_name_in_use(http: httpx.AsyncClient) -> None:
    body = {"name": "demo", "image": "bare"}
    await http.post("/v1/clusters", json=body)
    answer = await http.post("/v1/clusters?dry_run=true", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


async def test_the_same_key_and_body_give_the_same_cluster(http: httpx.AsyncClient, store: Store) -> None:
    headers = {"Idempotency-Key": "job-17"}
    first = await http.post("/v1/clusters", json={"image": "bare", "labels": {"a": "1"}}, headers=headers)
    body = {"labels": {"a": "1"}, "image": "bare", "workers": {"count": 0}}
    again = await http.post("/v1/clusters", json=body, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len((await store.clusters.list()).clusters) == 1


async def test_the_same_key_with_another_body_is_rejected(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "job-17"}
    await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    answer = await http.post("/v1/clusters", json={"image": "k8s"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")


async def test_a_repeated_request_is_answered_even_when_its_image_has_gone(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    headers = {"Idempotency-Key": "job-17"}
    first = await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    infrastructure.images.broken = ImageMissing("removed meanwhile")
    again = await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


async def test_a_key_that_an_earlier_release_kept_is_known(http: httpx.AsyncClient, store: Store) -> None:
    """Its fingerprint knew nothing of the fields that came later."""
    size = {"vcpus": None, "memory_mib": None, "disk_gib": None}
    body = {
        "name": "demo",
        "image": "bare",
        "control_plane": size,
        "workers": {**size, "count": 0},
        "readiness": None,
        "labels": {},
        "owner": "default",
        "ttl_seconds": None,
        "heartbeat_interval_seconds": None,
        "restart": "always",
        "hold": None,
    }
    fingerprint = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    key = IdempotencyKey("job-17", fingerprint)
    made, _ = await store.clusters.create(NewCluster(name="demo", spec=make_spec()), key)
    headers = {"Idempotency-Key": "job-17"}
    again = await http.post("/v1/clusters", json={"name": "demo", "image": "bare"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, made.id)
    other = {"name": "demo", "image": "bare", "isolation": "strict"}
    refused = await http.post("/v1/clusters", json=other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("model", "first_fields"),
    [
        (
            ClusterRequest,
            "image control_plane workers readiness owner name labels ttl_seconds heartbeat_interval_seconds restart "
            "hold",
        ),
        (WorkersRequest, "vcpus memory_mib disk_gib count"),
        (HoldRequest, "until seconds reason vms"),
        (PoolRequest, "image control_plane workers readiness owner name size maximum schedule max_age_seconds"),
        (PeriodRequest, "days since until size"),
        (TemplateRequest, "image control_plane workers readiness owner"),
        (CheckpointRequest, "name"),
        (ResetRequest, "to"),
    ],
)
def test_a_fingerprint_has_no_field_that_came_later(model: type[RequestModel], first_fields: str) -> None:
    """A later field must be in ADDED_FIELDS: else a retry after an upgrade is refused with its own key."""
    added: tuple[str, ...] = ("addons",) if issubclass(model, ShapeRequest) else ()
    if model is ClusterRequest:
        added = idempotency.ADDED_FIELDS
    assert sorted(model.model_fields) == sorted([*first_fields.split(), *added])


async def test_a_repeated_request_for_a_cluster_that_is_ready_by_now(http: httpx.AsyncClient, worker: Worker) -> None:
    headers = {"Idempotency-Key": "job-17"}
    first = await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    await worker.make()
    again = await http.post("/v1/clusters", json={"image": "bare"}, headers=headers)
    assert (first.status_code, again.status_code, again.json()["phase"]) == (202, 201, "ready")
