"""Any bad input is answered by a problem with a code: no traceback, no row."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from dayfly.errors import EngineUnavailable
from dayfly.store import Store
from dayfly.telemetry import add_request_id
from tests.support.api import HOST, OFFERED, ApiHttp, Infrastructure


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:dayfly:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["instance"] == answer.request.url.path
    return problem


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": "nothing"}, "image_missing"),
        ({"image": "plain"}, "not_a_node_image"),
        ({"image": "bare", "name": "Demo"}, "bad_name"),
        ({"image": "bare", "name": "1st"}, "bad_name"),
        ({"image": "bare", "name": "a-"}, "bad_name"),
        ({"image": "bare", "name": ""}, "bad_name"),
        ({"image": "bare", "name": "a" * 41}, "bad_name"),
        ({"image": "bare", "name": "a\0b"}, "bad_name"),
        ({"image": "bare", "name": "a\n"}, "bad_name"),
        ({"image": "bare", "name": "café"}, "bad_name"),
        ({"image": "bare", "workers": {"count": 99}}, "too_many_nodes"),
        ({"image": "bare", "workers": {"count": 10**30}}, "too_many_nodes"),
        ({"image": "bare", "control_plane": {"memory_mib": 255}}, "impossible_size"),
        ({"image": "bare", "control_plane": {"disk_gib": 3}}, "impossible_size"),
        ({"image": "bare", "control_plane": {"disk_gib": 10**6}}, "impossible_size"),
        ({"image": "bare", "control_plane": {"vcpus": HOST.vcpus + 1}}, "capacity"),
        ({"image": "bare", "control_plane": {"memory_mib": OFFERED.memory_mib}}, "capacity"),
        ({"image": "bare", "control_plane": {"disk_gib": OFFERED.disk_gib + 1}}, "capacity"),
        ({"image": "bare", "workers": {"count": 1, "memory_mib": HOST.memory_mib}}, "capacity"),
        ({"image": "bare", "workers": {"count": 98}}, "capacity"),
        ({"image": "bare", "workers": {"count": 98, "memory_mib": 2**31 - 1}}, "capacity"),
        ({"image": "bare", "hold": {"seconds": 7201, "reason": "x"}}, "invalid_request"),
        ({"image": "bare", "hold": {"until": "2020-01-01T00:00:00Z", "reason": "x"}}, "invalid_request"),
        ({"image": "bare", "workers": {"count": 0, "memory_mib": 1}}, "impossible_size"),
        ({"image": "bare", "ttl_seconds": 86401}, "invalid_request"),
        ({"image": "bare", "readiness": "usable"}, "invalid_request"),
        ({"image": "bare", "readiness": "nodes"}, "invalid_request"),
        ({"image": "bare", "ports": [{"name": "web", "port": 80, "node": "node02"}]}, "invalid_request"),
    ],
)
async def test_an_invalid_request_is_rejected(
    http: httpx.AsyncClient, store: Store, body: dict[str, Any], code: str
) -> None:
    check_problem(await http.post("/v1/clusters", json=body), 422, code)
    assert (await store.clusters.list()).clusters == ()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "image"),
        ({"image": ""}, "image"),
        ({"image": "a" * 256}, "image"),
        ({"image": "-rm"}, "image"),
        ({"image": "a/../../distribution/10.0.0.5:22/x"}, "image"),
        ({"image": "a//b"}, "image"),
        ({"image": "../x"}, "image"),
        ({"image": "bare\0"}, "image"),
        ({"image": 3}, "image"),
        ({"image": "bare", "surprise": 1}, "surprise"),
        ({"image": "bare", "name": 5}, "name"),
        ({"image": "bare", "workers": 3}, "workers"),
        ({"image": "bare", "workers": {"count": -1}}, "workers.count"),
        ({"image": "bare", "workers": {"count": "3"}}, "workers.count"),
        ({"image": "bare", "workers": {"count": 1.5}}, "workers.count"),
        ({"image": "bare", "workers": {"count": True}}, "workers.count"),
        ({"image": "bare", "control_plane": {"vcpus": 0}}, "control_plane.vcpus"),
        ({"image": "bare", "control_plane": {"memory_mib": -5}}, "control_plane.memory_mib"),
        ({"image": "bare", "control_plane": {"cores": 2}}, "control_plane.cores"),
        ({"image": "bare", "readiness": "soon"}, "readiness"),
        ({"image": "bare", "ttl_seconds": 0}, "ttl_seconds"),
        ({"image": "bare", "workers": {"count": 1, "vcpus": 10**40}}, "workers.vcpus"),
        ({"image": "bare", "control_plane": {"memory_mib": 2**31}}, "control_plane.memory_mib"),
        ({"image": "bare", "owner": ""}, "owner"),
        ({"image": "bare", "owner": "A"}, "owner"),
        ({"image": "bare", "owner": "a\n"}, "owner"),
        ({"image": "bare", "owner": "-a"}, "owner"),
        ({"image": "bare", "owner": "a."}, "owner"),
        ({"image": "bare", "owner": "a" * 64}, "owner"),
        ({"image": "bare", "owner": None}, "owner"),
        ({"image": "bare", "heartbeat_interval_seconds": 4}, "heartbeat_interval_seconds"),
        ({"image": "bare", "heartbeat_interval_seconds": 86401}, "heartbeat_interval_seconds"),
        ({"image": "bare", "heartbeat_interval_seconds": "30"}, "heartbeat_interval_seconds"),
        ({"image": "bare", "restart": "sometimes"}, "restart"),
        ({"image": "bare", "isolation": "none"}, "isolation"),
        ({"image": "bare", "isolation": None}, "isolation"),
        ({"image": "bare", "idle_seconds": 59}, "idle_seconds"),
        ({"image": "bare", "idle_seconds": "90"}, "idle_seconds"),
        ({"image": "bare", "idle_seconds": 10**30}, "idle_seconds"),
        ({"image": "bare", "purpose": "pool_member"}, "purpose"),
        ({"image": "bare", "pool": "ci"}, "pool"),
        ({"image": "bare", "ports": None}, "ports"),
        ({"image": "bare", "ports": {"web": 80}}, "ports"),
        ({"image": "bare", "ports": [{"name": "web", "port": 80}, {"name": "web", "port": 81}]}, "ports"),
        ({"image": "bare", "ports": [{"name": f"p{i}", "port": 80} for i in range(17)]}, "ports"),
        ({"image": "bare", "ports": [{"name": "web"}]}, "ports.0.port"),
        ({"image": "bare", "ports": [{"name": "web", "port": 0}]}, "ports.0.port"),
        ({"image": "bare", "ports": [{"name": "web", "port": 65536}]}, "ports.0.port"),
        ({"image": "bare", "ports": [{"name": "web", "port": "80"}]}, "ports.0.port"),
        ({"image": "bare", "ports": [{"port": 80}]}, "ports.0.name"),
        ({"image": "bare", "ports": [{"name": "a/b", "port": 80}]}, "ports.0.name"),
        ({"image": "bare", "ports": [{"name": "web\n", "port": 80}]}, "ports.0.name"),
        ({"image": "bare", "ports": [{"name": "web", "port": 80, "node": "first"}]}, "ports.0.node"),
        ({"image": "bare", "ports": [{"name": "web", "port": 80, "service": "default/web:80"}]}, "ports.0.service"),
        ({"image": "k8s", "ports": [{"name": "web", "port": 80, "address": "web"}]}, "ports.0.address"),
        ({"image": "k8s", "ports": [{"name": "a", "port": 80, "node": "node01", "address": "10.96.0.7"}]}, "ports.0"),
        ({"image": "bare", "hold": True}, "hold"),
        ({"image": "bare", "hold": {"reason": "x"}}, "hold"),
        ({"image": "bare", "hold": {"seconds": 5}}, "hold.reason"),
        ({"image": "bare", "labels": {"a": 1}}, "labels.a"),
        ({"image": "bare", "labels": {"": "x"}}, "labels"),
        ({"image": "bare", "labels": {"a b": "x"}}, "labels"),
        ({"image": "bare", "labels": {"a" * 64: "x"}}, "labels"),
        ({"image": "bare", "labels": {"a": "x" * 256}}, "labels"),
        ({"image": "bare", "labels": {"a": "x\0"}}, "labels"),
        ({"image": "bare", "labels": {f"k{i}": "x" for i in range(33)}}, "labels"),
        ([], ""),
        ("bare", ""),
        (None, ""),
    ],
)
async def test_a_field_that_is_wrong_is_named(http: httpx.AsyncClient, store: Store, body: Any, path: str) -> None:
    answer = await http.post("/v1/clusters", content=json.dumps(body), headers={"Content-Type": "application/json"})
    problem = check_problem(answer, 422, "invalid_request")
    assert path in {error["path"] for error in problem["errors"]}
    assert {error["location"] for error in problem["errors"]} == {"body"}
    assert (await store.clusters.list()).clusters == ()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"image": "bare"',
        b"image=bare",
        b'{"image": "\xff\xfe"}',
        b"\x00",
        b"[" * 30_000,
        b'{"image": "bare", "ttl_seconds": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_not_json(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/v1/clusters", content=content, headers={"Content-Type": "application/json"})
    check_problem(answer, 400, "malformed_json")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (rb'{"image": "\ud800"}', "invalid_request"),
        (rb'{"image": "bare", "\udfff": 1}', "invalid_request"),
        (rb'{"image": "bare", "labels": {"a": "\ud800"}}', "invalid_request"),
        (rb'{"image": "bare", "name": "\ud800"}', "bad_name"),
    ],
)
async def test_a_lone_surrogate_is_refused_and_survives_the_answer(
    http: httpx.AsyncClient, content: bytes, code: str
) -> None:
    answer = await http.post("/v1/clusters", content=content, headers={"Content-Type": "application/json"})
    check_problem(answer, 422, code)


async def test_nothing_at_all(http: httpx.AsyncClient) -> None:
    check_problem(await http.post("/v1/clusters"), 422, "invalid_request")


async def test_a_body_too_large(http: httpx.AsyncClient) -> None:
    body = {"image": "bare", "name": "x" * 70_000}
    check_problem(await http.post("/v1/clusters", json=body), 413, "body_too_large")


async def test_a_body_too_large_that_does_not_say_so(http: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(80):
            yield b" " * 1024

    answer = await http.post("/v1/clusters", content=chunks(), headers={"Content-Type": "application/json"})
    check_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("declared", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_json_has_to_be_declared(http: httpx.AsyncClient, declared: str | None) -> None:
    headers = {"Content-Type": declared} if declared else {}
    answer = await http.post("/v1/clusters", content=b'{"image": "bare"}', headers=headers)
    check_problem(answer, 415, "unsupported_media_type")


async def test_a_name_in_use(http: httpx.AsyncClient) -> None:
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    check_problem(await http.post("/v1/clusters", json={"name": "demo", "image": "bare"}), 409, "name_taken")


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
async def test_a_bad_idempotency_key(http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post("/v1/clusters", json={"image": "bare"}, headers={"Idempotency-Key": key})
    problem = check_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["location"] == "header"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/clusters/nothing",
        "/v1/clusters/0123456789ab",
        "/v1/clusters/Demo",
        "/v1/clusters/a%00b",
        "/v1/clusters/%F0%28%8C%28",
        "/v1/clusters/" + "a" * 5000,
        "/v1/clusters/nothing/kubeconfig",
        "/v1/clusters/nothing/events",
        "/v1/clusters/",
        "/",
        "/v2/clusters",
    ],
)
async def test_what_is_not_there(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_is_not_possible(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/clusters")
    check_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "phase=gone",
        "purpose=",
        "purpose=all",
        "label=a",
        "label==b",
        "label=a=1&label=a=2",
        "label=a=%00",
        "&".join(f"label=k{number}=v" for number in range(33)),
        "&".join(["phase=ready"] * 9),
        "&".join(["purpose=cluster"] * 9),
        "&".join(f"a{number}=" for number in range(65)),
        "cursor=x",
        "cursor=" + "y" * 201,
        "cursor=%00",
        "owner=",
        "owner=A",
        "owner=a%00",
        "owner=" + "a" * 64,
    ],
)
async def test_a_bad_listing(http: httpx.AsyncClient, query: str) -> None:
    check_problem(await http.get(f"/v1/clusters?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/clusters?name=", "/v1/templates?a=", "/v1/pools?", "/healthz?", "/"])
async def test_a_uri_too_long(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path + "a" * 16384)
    assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")
    assert len(answer.content) < 2048, "a problem does not repeat the whole path"


async def test_a_listing_by_as_many_labels_as_a_cluster_has(http: httpx.AsyncClient) -> None:
    labels = {f"{number:063}": "v" * 255 for number in range(32)}
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare", "labels": labels})
    answer = await http.get("/v1/clusters", params={"label": [f"{key}={value}" for key, value in labels.items()]})
    assert [cluster["name"] for cluster in answer.json()["clusters"]] == ["demo"]


@pytest.mark.parametrize("query", ["wait=soon", "wait=ready&timeout=3601", "timeout=-1", "timeout=nan", "timeout=inf"])
async def test_a_bad_wait(http: httpx.AsyncClient, query: str) -> None:
    cluster = (await http.post("/v1/clusters", json={"image": "bare"})).json()
    check_problem(await http.get(f"/v1/clusters/{cluster['id']}?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("query", ["after=-1", f"after={2**63}", "limit=0", "wait=4000", "wait=nan"])
async def test_bad_event_parameters(http: httpx.AsyncClient, query: str) -> None:
    cluster = (await http.post("/v1/clusters", json={"image": "bare"})).json()
    check_problem(await http.get(f"/v1/clusters/{cluster['id']}/events?{query}"), 422, "invalid_request")


async def test_an_engine_that_does_not_answer(http: httpx.AsyncClient, infrastructure: Infrastructure) -> None:
    infrastructure.images.broken = EngineUnavailable("the engine does not answer")
    answer = await http.post("/v1/clusters", json={"image": "bare"})
    check_problem(answer, 503, "engine_unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_defect_shows_nothing_of_the_inside(http: httpx.AsyncClient, infrastructure: Infrastructure) -> None:
    infrastructure.images.broken = RuntimeError("secret detail")
    with capture_logs([add_request_id]) as logged:
        answer = await http.post("/v1/clusters", json={"image": "bare"}, headers={"X-Request-Id": "ask-me-1"})
    problem = check_problem(answer, 500, "internal")
    assert problem["request_id"] == "ask-me-1"
    assert "secret detail" not in answer.text
    assert [(line["event"], line["request_id"]) for line in logged] == [("request failed", "ask-me-1")]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8700", "", "localhost.evil.example", "[::2]"])
async def test_a_request_for_another_host(http: httpx.AsyncClient, host: str) -> None:
    check_problem(await http.get("/v1/clusters", headers={"Host": host}), 421, "host_not_allowed")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8700", "localhost.", "localhost.:8700", "127.0.0.1:1", "[::1]", "[::1]:8700"]
)
async def test_a_request_for_loopback(http: httpx.AsyncClient, host: str) -> None:
    assert (await http.get("/v1/clusters", headers={"Host": host})).status_code == 200


async def test_a_service_for_all_hosts(store: Store, infrastructure: Infrastructure) -> None:
    async with ApiHttp(infrastructure.services(store, allowed_hosts=None)) as http:
        assert (await http.get("/healthz", headers={"Host": "lab.example"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1.evil.example:8700"},
        {"Origin": "http://127.0.0.1:8701"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:x"},
        {"Origin": "http://[::1"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "file://127.0.0.1:8700"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "http://127.0.0.1:8700", "Sec-Fetch-Site": "cross-site"},
        [("Origin", "http://127.0.0.1:8700"), ("Origin", "http://evil.example")],
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
async def test_a_web_page_of_another_origin_is_refused(http: httpx.AsyncClient, method: str, headers: Any) -> None:
    cluster = (await http.post("/v1/clusters", json={"image": "bare"})).json()
    action = {"POST": "/heartbeat"}.get(method, "")
    answer = await http.request(method, f"/v1/clusters/{cluster['id']}{action}", headers=headers)
    check_problem(answer, 403, "foreign_origin")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert (await http.get(f"/v1/clusters/{cluster['id']}")).json()["phase"] == "pending"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:8700", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost", "Origin": "https://localhost"},
        {"Host": "localhost:443", "Origin": "https://localhost"},
        {"Host": "[::1]:8700", "Origin": "http://[::1]:8700"},
    ],
)
async def test_a_page_of_the_service_itself_is_served(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.get("/v1/clusters", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/nowhere"])
async def test_no_answer_is_embedded_by_another_origin(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "é"])
async def test_a_request_id_that_is_no_use_is_replaced(http: httpx.AsyncClient, given_id: str) -> None:
    answer = await http.get("/healthz", headers=[(b"X-Request-Id", given_id.encode())])
    assert answer.headers["x-request-id"] not in {"", given_id}
