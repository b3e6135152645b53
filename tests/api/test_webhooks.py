"""/v1/webhooks: what a team may have called, and what was."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from dayfly.api.app import document
from dayfly.domain.security.principal import Principal, Role
from dayfly.domain.webhook import MOST_WEBHOOKS, NewAttempt
from dayfly.schemas.webhooks import WebhookMessage
from dayfly.store import Store
from dayfly.vocabulary import WebhookEvent
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import ApiHttp, Infrastructure, Worker

URL = "https://ci.example/hook"


async def create(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/webhooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    found: dict[str, Any] = answer.json()
    return found


def other_team(services: Any) -> httpx.AsyncClient:
    """The same API for a caller of another team."""
    return ActingAs(services, Principal("token:1", "other", Role.ADMIN))


async def test_the_secret_is_shown_once(http: httpx.AsyncClient) -> None:
    made = await create(http, description="CI", events=["ready", "failed", "ready"])
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["events"] == ["ready", "failed"]
    assert (made["team"], made["enabled"], made["url"], made["description"]) == ("default", True, URL, "CI")
    path = f"/v1/webhooks/{made['id']}"
    for answer in (
        await http.get(path),
        await http.get("/v1/webhooks"),
        await http.patch(path, json={"description": "x"}),
        await http.post(f"{path}/test"),
        await http.get(f"{path}/deliveries"),
        await http.delete(path),
    ):
        assert answer.is_success
        assert secret not in answer.text
        assert "secret" not in answer.text
    other = await create(http)
    assert other["secret"] != secret
    assert other["events"] == [event.value for event in WebhookEvent]


async def test_a_repeated_request_makes_one_webhook_and_does_not_show_the_secret_again(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "job-17"}
    twins = await asyncio.gather(*(http.post("/v1/webhooks", json={"url": URL}, headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in twins} == {201}
    assert len({answer.json()["id"] for answer in twins}) == 1
    assert sorted(answer.json()["secret"] is None for answer in twins) == [False, True, True, True]
    assert sorted("idempotency-replayed" in answer.headers for answer in twins) == [False, True, True, True]
    path = f"/v1/webhooks/{twins[0].json()['id']}"
    calls = [await http.post(f"{path}/test", headers={"Idempotency-Key": "test"}) for _ in range(2)]
    assert calls[0].json() == calls[1].json()
    check_problem(await http.post(f"{path}/test", headers=headers), 409, "idempotency_key_reused")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ci.example",
        "ftp://ci.example/",
        "https://",
        "https:///x",
        "https://user:password@ci.example/",
        "https://ci.example/#part",
        "https://ci.example:0/",
        "https://ci.example:65536/",
        "https://ci.example:99999999/",
        "https://ci example/",
        "https://ci.example/a b",
        "https://ci.example/\r\nx: y",
        "https://ci.example/\u00e4",
        "https://[::1/",
        "https://[zz]/",
        "https://[::::::]/",
        "https://-/",
        "https://" + "a" * 2000,
        5,
        None,
    ],
)
async def test_what_is_no_url(http: httpx.AsyncClient, url: Any) -> None:
    check_problem(await http.post("/v1/webhooks", json={"url": url}), 422, "invalid_request")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8700", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00::1]:80"]
)
async def test_an_address_that_is_never_called_is_refused_at_once(
    http: httpx.AsyncClient, store: Store, infrastructure: Infrastructure, host: str
) -> None:
    body = {"url": f"http://{host}/"}
    answer = await http.post("/v1/webhooks", json=body)
    check_problem(answer, 422, "invalid_request")
    assert "DAYFLY_WEBHOOK_NETWORKS" in answer.json()["detail"]
    made = await create(http)
    check_problem(await http.patch(f"/v1/webhooks/{made['id']}", json=body), 422, "invalid_request")
    allowed = {"webhook_networks": ("0.0.0.0/0", "::/0")}
    async with ApiHttp(infrastructure.services(store, allowed)) as free:
        await create(free, **body)


@pytest.mark.parametrize(
    "body",
    [
        {"events": []},
        {"events": ["melting"]},
        {"events": "ready"},
        {"events": ["test"]},
        {"description": "x" * 201},
        {"secret": "whsec_x"},
        {"enabled": False},
    ],
)
async def test_other_bad_input(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    check_problem(await http.post("/v1/webhooks", json={"url": URL, **body}), 422, "invalid_request")


async def test_a_change_with_its_tag(http: httpx.AsyncClient) -> None:
    path = f"/v1/webhooks/{(await create(http))['id']}"
    seen = await http.get(path)
    tag = {"If-Match": seen.headers["etag"]}
    changed = await http.patch(path, json={"enabled": False, "events": ["failed"]}, headers=tag)
    assert changed.status_code == 200
    found = changed.json()
    assert (found["enabled"], found["disabled_reason"], found["events"]) == (False, "by request", ["failed"])
    check_problem(await http.patch(path, json={"enabled": True}, headers=tag), 412, "precondition_failed")
    again = await http.patch(path, json={"enabled": True}, headers={"If-Match": changed.headers["etag"]})
    assert (again.json()["enabled"], again.json()["disabled_reason"]) == (True, None)
    assert again.headers["etag"] == (await http.get(path)).headers["etag"]
    wrong: tuple[dict[str, Any], ...] = ({}, {"url": None}, {"events": []}, {"x": 1})
    for body in wrong:
        check_problem(await http.patch(path, json=body), 422, "invalid_request")


async def test_deliveries_show_their_attempts(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    path = f"/v1/webhooks/{(await create(http))['id']}"
    cluster = (await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})).json()
    await worker.make()
    [held] = await store.webhook_leases.claim("one", lease_seconds=60, limit=9)
    await store.webhook_leases.finish(
        held, NewAttempt(1.5, 503, "webhook_refused", "the receiver answered 503", "busy")
    )
    test = (await http.post(f"{path}/test")).json()
    assert (test["type"], test["state"], test["attempts"], test["cluster_id"]) == ("test", "pending", [], None)
    first = await http.get(f"{path}/deliveries?limit=1")
    assert [one["id"] for one in first.json()["deliveries"]] == [test["id"]]
    assert first.headers["link"].endswith('rel="next"')
    second = await http.get(f"{path}/deliveries?limit=1&cursor={first.json()['next_cursor']}")
    [one] = second.json()["deliveries"]
    assert second.json()["next_cursor"] is None
    assert (one["type"], one["state"], one["cluster_id"]) == ("ready", "pending", cluster["id"])
    [attempt] = one["attempts"]
    assert attempt == {
        "at": attempt["at"],
        "seconds": 1.5,
        "status": 503,
        "error_code": "webhook_refused",
        "error": "the receiver answered 503",
        "answer": "busy",
    }
    assert one["due_at"] > one["created_at"]
    alone = await http.get(f"{path}/deliveries/{one['id']}")
    assert alone.json() == second.json()["deliveries"][0]
    assert (await http.get(f"{path}/deliveries?state=dead&state=delivered")).json()["deliveries"] == []
    again = await http.post(f"{path}/deliveries/{one['id']}/redeliver")
    assert again.status_code == 202
    assert again.json()["due_at"] < one["due_at"]
    await http.patch(path, json={"enabled": False})
    check_problem(await http.post(f"{path}/deliveries/{one['id']}/redeliver"), 409, "webhook_disabled")
    for query in ("limit=0", "limit=101", "state=lost", "cursor=x"):
        check_problem(await http.get(f"{path}/deliveries?{query}"), 422, "invalid_request")


async def test_a_message_is_what_the_document_says(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    await create(http)
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare", "labels": {"a": "b"}})
    await worker.make()
    [held] = await store.webhook_leases.claim("one", lease_seconds=60, limit=9)
    message = WebhookMessage.model_validate_json(held.body)
    assert message.data.cluster is not None
    assert json.loads(held.body) == json.loads(message.model_dump_json())
    assert (message.type, message.data.cluster.labels) == ("ready", {"a": "b"})
    described = json.loads(document())
    assert set(described["webhooks"]) == {*map(str, WebhookEvent), "test"}
    for methods in described["webhooks"].values():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/WebhookMessage"}
        headers = {one["name"] for one in methods["post"]["parameters"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
        assert set(methods["post"]["responses"]) == {"204"}


async def test_what_another_team_has_does_not_exist(
    http: httpx.AsyncClient, store: Store, infrastructure: Infrastructure
) -> None:
    path = f"/v1/webhooks/{(await create(http))['id']}"
    delivery = f"{path}/deliveries/{(await http.post(f'{path}/test')).json()['id']}"
    async with other_team(infrastructure.services(store)) as other:
        assert (await other.get("/v1/webhooks")).json() == {"webhooks": []}
        for method, at in (
            *(("GET", path), ("DELETE", path), ("GET", f"{path}/deliveries"), ("GET", delivery)),
            *(("POST", f"{path}/test"), ("POST", f"{delivery}/redeliver")),
        ):
            check_problem(await other.request(method, at), 404, "not_found")
        check_problem(await other.patch(path, json={"enabled": False}), 404, "not_found")
        assert (await create(other))["team"] == "other"
        # A key belongs to its team.
        headers = {"Idempotency-Key": "same"}
        made = [await one.post("/v1/webhooks", json={"url": URL}, headers=headers) for one in (http, other)]
        assert made[0].json()["id"] != made[1].json()["id"]
    assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("webhook", ["x" * 41, "X", "a.b", "%20", "0123456789ab"])
async def test_no_webhook_has_the_id(http: httpx.AsyncClient, webhook: str) -> None:
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/deliveries"),
        ("POST", "/test"),
        ("GET", "/deliveries/1"),
    ):
        check_problem(await http.request(method, f"/v1/webhooks/{webhook}{path}"), 404, "not_found")


async def test_too_many(http: httpx.AsyncClient) -> None:
    for _ in range(MOST_WEBHOOKS):
        await create(http)
    check_problem(await http.post("/v1/webhooks", json={"url": URL}), 409, "webhook_limit")
