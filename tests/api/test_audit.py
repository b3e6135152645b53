"""The audit log: which requests have an entry, when it is written, and who reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from dayfly.api.app import create_api
from dayfly.api.authentication import PEER_UID
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.security.principal import Principal, Role
from dayfly.store import AuditFilter, NewToken, NewWebhook, Store
from dayfly.vocabulary import TokenKind, WebhookEvent
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.secret_search import Secrets, columns_of_store

RED = Principal("token:0f3a", "red", Role.ADMIN)
BLUE = Principal("oidc:blue", "blue", Role.ADMIN)
OPERATOR = Principal("uid:0", "default", Role.OPERATOR)
HOOK = "https://hooks.example/"


@pytest.fixture
async def acting(store: Store, infrastructure: Infrastructure) -> AsyncIterator[ActingAs]:
    async with ActingAs(infrastructure.services(store), RED) as client:
        yield client


async def entries(store: Store) -> list[tuple[str | None, int | None, str | None]]:
    """Operation, status and code, oldest first."""
    found = await store.audit.page(AuditFilter(), limit=1000)
    return [(one.operation, one.status, one.code) for one in reversed(found)]


async def last(http: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await http.get("/v1/audit", params={"limit": "1", **query})
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["entries"]
    entry: dict[str, Any] = found
    return entry


async def make(http: httpx.AsyncClient, worker: Worker, name: str = "demo", **fields: Any) -> str:
    made = await http.post("/v1/clusters", json={"name": name, "image": "k8s", **fields})
    assert made.status_code == 202, made.text
    await worker.tend()
    found: str = made.json()["id"]
    return found


async def test_an_entry_says_who_did_what_from_where(acting: ActingAs, worker: Worker) -> None:
    identity = await make(acting, worker)
    await acting.delete("/v1/clusters/demo", headers={"X-Request-Id": "my-request"})
    entry = await last(acting)
    assert entry.pop("at") > "2026"
    assert entry.pop("id") > 0
    assert entry == {
        "principal": "token:0f3a",
        "team": "red",
        "role": "admin",
        "address": "127.0.0.1",
        "request_id": "my-request",
        "operation": "deleteCluster",
        "target": {"kind": "cluster", "id": identity, "name": "demo"},
        "status": 202,
        "code": None,
    }


async def test_every_change_has_one_entry(
    acting: ActingAs, store: Store, worker: Worker, infrastructure: Infrastructure
) -> None:
    identity = await make(acting, worker)
    requests: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PATCH", "/v1/clusters/demo", {"ttl_seconds": 600}),
        ("POST", "/v1/clusters/demo/checkpoints", {"name": "one"}),
        ("POST", "/v1/clusters/demo/reset", None),
        ("DELETE", "/v1/clusters/demo/checkpoints/one", None),
        ("POST", "/v1/clusters/demo/hibernate", None),
        ("POST", "/v1/clusters/demo/resume", None),
        ("DELETE", f"/v1/clusters/{identity}", None),
        ("POST", "/v1/pools", {"name": "warm", "image": "bare", "size": 1, "maximum": 1}),
        ("PATCH", "/v1/pools/warm", {"size": 0}),
        ("DELETE", "/v1/pools/warm", None),
        ("POST", "/v1/templates", {"image": "bare"}),
        ("DELETE", "/v1/orphans", None),
    ]
    for method, path, body in requests:
        acting.principal = OPERATOR if path == "/v1/orphans" else RED
        answer = await acting.request(method, path, json=body)
        assert answer.is_success, answer.text
        await worker.tend()
    found = [operation for operation, status, _ in await entries(store) if status is not None and status < 300]
    assert found == [
        "createCluster",
        "changeCluster",
        "createCheckpoint",
        "resetCluster",
        "deleteCheckpoint",
        "hibernateCluster",
        "resumeCluster",
        "deleteCluster",
        "createPool",
        "changePool",
        "deletePool",
        "createTemplate",
        "removeOrphans",
    ]
    named = await store.audit.page(AuditFilter(target="demo"))
    assert len(named) == 8
    assert {one.target.id for one in named if one.target} == {identity}


async def test_every_route_that_changes_something_is_recorded(http: httpx.AsyncClient, store: Store) -> None:
    """With a path of which nothing exists, or without a body: each is refused, and has an entry."""
    document = (await http.get("/openapi.json")).json()
    wanted = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "get":
                wanted.append(operation["operationId"])
                await http.request(method, path.replace("{", "").replace("}", ""))
    assert [operation for operation, _, _ in await entries(store)] == wanted


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "entry"),
    [
        ("DELETE", "/v1/clusters/none", "", {}, ("deleteCluster", 404, "not_found")),
        ("POST", "/v1/clusters", "{}", {}, ("createCluster", 422, "invalid_request")),
        ("POST", "/v1/clusters", "{", {}, ("createCluster", 400, "malformed_json")),
        (
            "POST",
            "/v1/clusters",
            "a=1",
            {"Content-Type": "text/plain"},
            ("createCluster", 415, "unsupported_media_type"),
        ),
        ("POST", "/v1/clusters", "", {"Origin": "http://evil.example"}, ("createCluster", 403, "foreign_origin")),
        ("POST", "/v1/clusters/none/reset", "", {"Host": "evil.example"}, ("resetCluster", 421, "host_not_allowed")),
        ("POST", "/v1/nothing", "", {}, (None, 404, "not_found")),
        ("DELETE", "/v1/status", "", {}, (None, 405, "method_not_allowed")),
        ("POST", "/v1/clusters/none/heartbeat", "", {}, ("sendHeartbeat", 404, "not_found")),
    ],
)
async def test_refused_requests_are_recorded(
    http: httpx.AsyncClient,
    store: Store,
    method: str,
    path: str,
    body: str,
    headers: dict[str, str],
    entry: tuple[str | None, int, str],
) -> None:
    typed = {"Content-Type": "application/json"} if body else {}
    answer = await http.request(method, path, content=body, headers={**typed, **headers})
    assert answer.status_code == entry[1], answer.text
    assert await entries(store) == [entry]
    [found] = await store.audit.page(AuditFilter())
    refused_before = entry[2] in {"foreign_origin", "host_not_allowed"}
    caller = ("unauthenticated", None, None) if refused_before else ("loopback", "default", "operator")
    assert (found.principal, found.team, found.role) == caller


async def test_reads_of_secrets_are_recorded_and_other_reads_are_not(
    acting: ActingAs, store: Store, worker: Worker
) -> None:
    await make(acting, worker)
    for path in ("", "/nodes", "/events", "/kubeconfig", "/nodes/node01/ssh", "/registry", "/diagnostics"):
        assert (await acting.get(f"/v1/clusters/demo{path}")).status_code == 200
    for path in ("/v1/clusters", "/v1/status", "/v1/audit", "/v1/usage", "/metrics", "/openapi.json", "/nothing"):
        await acting.get(path)
    assert await entries(store) == [
        ("createCluster", 202, None),
        ("getKubeconfig", 200, None),
        ("getNodeSsh", 200, None),
    ]
    check_problem(await acting.get("/v1/clusters/none/kubeconfig"), 404, "not_found")
    assert (await entries(store))[-1] == ("getKubeconfig", 404, "not_found")


async def test_heartbeats_are_not_recorded(acting: ActingAs, store: Store, worker: Worker) -> None:
    await make(acting, worker, heartbeat_interval_seconds=60)
    for _ in range(3):
        assert (await acting.post("/v1/clusters/demo/heartbeat")).status_code == 200
    assert len(await entries(store)) == 1


async def test_a_repeated_request_names_what_the_first_created(acting: ActingAs, worker: Worker) -> None:
    wanted = {"name": "demo", "image": "bare"}
    first = await acting.post("/v1/clusters", json=wanted, headers={"Idempotency-Key": "mine"})
    await acting.post("/v1/clusters", json=wanted, headers={"Idempotency-Key": "mine"})
    entry = await last(acting)
    assert (entry["operation"], entry["target"]["id"]) == ("createCluster", first.json()["id"])


async def test_another_answer_than_expected_has_an_entry_of_its_own(acting: ActingAs, store: Store) -> None:
    acting.principal = OPERATOR
    made = await acting.post("/v1/images", json={"recipe": "bare"})
    assert made.status_code == 202, made.text
    cancelled = await acting.delete(f"/v1/bakes/{made.json()['id']}")
    assert cancelled.status_code == 200
    found = await store.audit.page(AuditFilter(operation="cancelBake"))
    assert [one.status for one in found] == [200, 202]
    assert len({(one.request_id, one.target) for one in found}) == 1


async def test_no_change_without_its_entry(acting: ActingAs, store: Store, worker: Worker) -> None:
    await make(acting, worker)
    await _rename(store, "audit", "away")
    check_problem(
        await acting.post("/v1/clusters", json={"name": "other", "image": "bare"}), 503, "database_unavailable"
    )
    check_problem(await acting.delete("/v1/clusters/demo"), 503, "database_unavailable")
    check_problem(await acting.get("/v1/clusters/demo/kubeconfig"), 503, "database_unavailable")
    check_problem(await acting.post("/v1/clusters", json={}), 503, "database_unavailable")
    await _rename(store, "away", "audit")
    listed = (await acting.get("/v1/clusters")).json()["clusters"]
    assert [(one["name"], one["desired"]) for one in listed] == [("demo", "present")]
    assert (await acting.delete("/v1/clusters/demo")).status_code == 202


async def test_no_change_of_access_without_its_entry(acting: ActingAs, store: Store) -> None:
    """Who may do what, how much, and who is told: changed with the entry, or not at all."""
    acting.principal = OPERATOR
    for name in ("red", "blue"):
        await store.teams.create(name, "")
    new = NewToken("red", "ci", TokenKind.SERVICE, Role.USER, "", "token:test")
    token, _ = await store.tokens.create(new)
    webhook = await store.webhooks.create(NewWebhook("default", HOOK, (WebhookEvent.READY,), "whsec_a"))
    requests: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/v1/tokens", {"name": "new", "role": "viewer", "team": "red"}),
        ("DELETE", f"/v1/tokens/{token.id}", None),
        ("POST", "/v1/teams", {"name": "new"}),
        ("PATCH", "/v1/teams/red", {"description": "us"}),
        ("DELETE", "/v1/teams/blue", None),
        ("PUT", "/v1/quotas", {"clusters": 3}),
        ("PUT", "/v1/quotas/red", {"clusters": 3}),
        ("POST", "/v1/webhooks", {"url": HOOK, "events": ["ready"]}),
        ("PATCH", f"/v1/webhooks/{webhook.id}", {"description": "ours"}),
        ("POST", f"/v1/webhooks/{webhook.id}/test", None),
        ("DELETE", f"/v1/webhooks/{webhook.id}", None),
    ]
    before = await _kept_rows(store)
    await _rename(store, "audit", "away")
    for method, path, body in requests:
        check_problem(await acting.request(method, path, json=body), 503, "database_unavailable")
    await _rename(store, "away", "audit")
    assert await _kept_rows(store) == before
    for method, path, body in requests:
        answer = await acting.request(method, path, json=body)
        assert answer.is_success, answer.text
    assert len(await entries(store)) == len(requests), "one for each"
    assert (await last(acting, operation="createToken"))["target"]["kind"] == "token"
    assert (await last(acting, operation="setTeamQuota"))["target"] == {"kind": "quota", "id": None, "name": "red"}


async def _kept_rows(store: Store) -> dict[str, str]:
    tables = {"tokens", "teams", "quotas", "webhooks", "webhook_deliveries"}
    columns = await columns_of_store(store)
    return {name: text for name, text in columns.items() if name.partition(".")[0] in tables}


async def _rename(store: Store, old: str, new: str) -> None:
    async with store._database.write() as transaction:
        await transaction.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


async def test_the_entry_is_there_before_the_answer(
    store: Store, infrastructure: Infrastructure, worker: Worker
) -> None:
    """A caller that waits is cut off: what it requested is on record."""
    async with ApiHttp(infrastructure.services(store)) as http:
        await make(http, worker)
        waiting = asyncio.create_task(http.delete("/v1/clusters/demo?wait=deleted&timeout=60"))
        await http.until_held()
        assert (await entries(store))[-1] == ("deleteCluster", 202, None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert [one[0] for one in await entries(store)] == ["createCluster", "deleteCluster"]


async def test_a_caller_that_leaves_before_the_commit(store: Store, infrastructure: Infrastructure) -> None:
    body = json.dumps({"name": "demo", "image": "bare"}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    path = {"path": "/v1/clusters", "raw_path": b"/v1/clusters", "query_string": b"", "root_path": ""}
    proven = {"client": None, "state": {PEER_UID: 0}}
    scope = {"type": "http", "method": "POST", "scheme": "http", "headers": headers, **proven, **path}
    sent = []

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await create_api(infrastructure.services(store))(scope, receive, send)
    assert sent == []
    assert (await store.clusters.list()).clusters == ()
    [entry] = await store.audit.page(AuditFilter())
    assert (entry.operation, entry.status, entry.code) == ("createCluster", None, "unanswered")
    assert entry.address == "unix"


async def test_a_team_sees_its_own_entries_and_the_operator_all(acting: ActingAs, store: Store) -> None:
    for principal in (RED, BLUE, OPERATOR):
        acting.principal = principal
        await acting.delete("/v1/clusters/none")
    acting.principal = None
    await acting.delete("/v1/clusters/none")
    for principal, teams in ((RED, ["red"]), (BLUE, ["blue"]), (OPERATOR, [None, "default", "blue", "red"])):
        acting.principal = principal
        assert [one["team"] for one in (await acting.get("/v1/audit")).json()["entries"]] == teams
    acting.principal = RED
    for query in ("team=blue", "team=blue&format=jsonl"):
        answer = await acting.get(f"/v1/audit?{query}")
        assert answer.status_code == 200
        assert "blue" not in answer.text
    acting.principal = OPERATOR
    assert (await last(acting, team="blue"))["principal"] == "oidc:blue"


async def test_pages_filters_and_json_lines(acting: ActingAs) -> None:
    for number in range(7):
        await acting.delete(f"/v1/clusters/none-{number}")
    ids: list[int] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3"} | ({} if cursor is None else {"cursor": cursor})
        page = (await acting.get("/v1/audit", params=query)).json()
        ids += [one["id"] for one in page["entries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 7
    assert (await last(acting, target="none-3"))["target"]["name"] == "none-3"
    for query in ({"principal": "nobody"}, {"operation": "createCluster"}, {"since": "2100-01-01T00:00:00Z"}):
        assert (await acting.get("/v1/audit", params=query)).json()["entries"] == []
    assert (await acting.get("/v1/audit?until=0001-01-01T00:00:00%2B14:00")).json()["entries"] == []
    assert len((await acting.get("/v1/audit?until=9999-12-31T23:59:59-12:00")).json()["entries"]) == 7
    for lines in (
        await acting.get("/v1/audit?format=jsonl"),
        await acting.get("/v1/audit", headers={"Accept": "application/jsonl"}),
    ):
        assert lines.headers["content-type"].startswith("application/jsonl")
        assert [json.loads(line)["id"] for line in lines.text.splitlines()] == sorted(ids)


async def test_no_secret_is_recorded(acting: ActingAs, store: Store, worker: Worker) -> None:
    """Neither of the clusters, nor one that a caller sent at a wrong place."""
    sent = "dfly-9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928"
    headers = {"Authorization": f"Bearer {sent}", "Idempotency-Key": sent, "Cookie": sent}
    acting.headers.update(headers)
    await make(acting, worker, labels={"ci": "unit"})
    await acting.post("/v1/templates", json={"image": "k8s"})
    await worker.tend()
    kubeconfig = await acting.get("/v1/clusters/demo/kubeconfig")
    await acting.get("/v1/clusters/demo/nodes/node01/ssh")
    await acting.delete(f"/v1/clusters/{sent}")
    await acting.delete(f"/v1/clusters/none?token={sent}")
    await acting.post("/v1/clusters", json={"name": "x", "image": sent})
    await acting.post(f"/v1/{sent}")
    secrets = Secrets()
    secrets.add("what a caller sent", sent)
    clusters = (await store.clusters.list(purposes=frozenset(Purpose))).clusters
    for cluster in clusters:
        if (own := await store.clusters.secrets(cluster.id)) is not None:
            secrets.add_cluster(cluster.name, own)
    assert len(secrets.known) > 20
    columns = await columns_of_store(store)
    assert "createTemplate" in columns["audit.operation"]
    assert secrets.found_in(columns) == []
    assert secrets.found_in({"kubeconfig": kubeconfig.text}) != [], "the search finds a secret"
