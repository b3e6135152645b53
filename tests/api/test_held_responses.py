"""The bound of held responses: requests beyond it, and clients that keep waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from dayfly.api.app import create_api
from dayfly.api.dependencies import ApiServices
from dayfly.api.held_responses import HeldResponses
from dayfly.api.server import create_server
from dayfly.client import AsyncClient, async_connection
from dayfly.domain.quota import Given
from dayfly.domain.security.principal import Principal, Role
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.event_streams import STREAM
from tests.support.held_responses import PATIENCE_SECONDS, AnnouncedResponses

WAIT = "/v1/clusters/demo?wait=ready&timeout=60"
HELD = ("?wait=ready&timeout=60", "/events?after=1000&wait=60")
RED = Principal("token:0f3a", "red", Role.ADMIN)
BLUE = Principal("token:5c1e", "blue", Role.ADMIN)


async def endless(_cluster: str, _node: str) -> AsyncIterator[bytes]:
    yield b"more\n"
    await asyncio.Event().wait()


@pytest.fixture
def services(store: Store, infrastructure: Infrastructure) -> ApiServices:
    return infrastructure.services(store, held=AnnouncedResponses(maximum=1), follow_console=endless)


@pytest.fixture
async def http(services: ApiServices) -> AsyncIterator[httpx.AsyncClient]:
    async with ApiHttp(services) as client:
        client.timeout = httpx.Timeout(PATIENCE_SECONDS)
        await client.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        yield client


async def until_held(services: ApiServices) -> None:
    assert isinstance(services.held, AnnouncedResponses)
    await services.held.next()
    assert services.held.is_full


async def test_beyond_the_bound_a_wait_is_refused_until_another_ends(
    services: ApiServices, http: httpx.AsyncClient, worker: Worker
) -> None:
    first = asyncio.create_task(http.get(WAIT))
    await until_held(services)
    for url in (WAIT, "/v1/clusters/demo/events?after=1000&wait=60"):
        refused = await http.get(url)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_waits")
        assert refused.headers["retry-after"] == "5"
    assert not first.done()
    await worker.make()
    assert (await first).json()["phase"] == "ready"
    assert services.held.number == 0
    assert (await http.get("/v1/clusters/demo?wait=hibernated&timeout=0.01")).status_code == 200
    assert services.held.number == 0


async def test_a_followed_console_is_a_held_response(
    services: ApiServices, http: httpx.AsyncClient, worker: Worker
) -> None:
    await worker.make()
    url = "/v1/clusters/demo/nodes/node01/console"
    first = asyncio.create_task(http.get(f"{url}?follow=true"))
    await until_held(services)
    refused = await http.get(f"{url}?follow=true")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_waits")
    assert (await http.get(url)).status_code == 200
    services.closing.set()
    with pytest.raises(AssertionError):  # httpx's: the response has no end, because the client must repeat the request
        await first
    assert services.held.number == 0


async def test_what_need_not_be_held_is_answered(
    services: ApiServices, http: httpx.AsyncClient, worker: Worker
) -> None:
    await worker.make()
    first = asyncio.create_task(http.get("/v1/clusters/demo?wait=deleted&timeout=60"))
    await until_held(services)
    for query in ("?wait=hibernated&timeout=0", "?wait=ready&timeout=60", "/events?wait=60", ""):
        assert (await http.get(f"/v1/clusters/demo{query}")).status_code == 200
    services.closing.set()
    assert (await first).status_code == 200


async def test_a_change_is_made_and_answered_at_once(services: ApiServices, http: httpx.AsyncClient) -> None:
    first = asyncio.create_task(http.get("/v1/clusters/demo?wait=deleted&timeout=60"))
    await until_held(services)
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await http.delete("/v1/clusters/demo?wait=deleted&timeout=60")
    assert (answer.status_code, answer.json()["desired"]) == (202, "absent")
    services.closing.set()
    await first


@pytest.mark.parametrize("by_quota", [False, True])
async def test_the_client_waits_on_until_a_response_can_be_held(
    services: ApiServices,
    http: httpx.AsyncClient,
    store: Store,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    by_quota: bool,
) -> None:
    if by_quota:
        services.held.maximum = 100
        await store.quotas.set(Given({"long_polls": 1}), "default")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            await worker.make()
            await first

    monkeypatch.setattr(async_connection, "async_pause", pause)
    first = asyncio.create_task(http.get(WAIT))
    await until_number(services, 1)
    async with AsyncClient(transport=httpx.ASGITransport(create_api(services))) as client:
        assert (await client.wait_ready("demo", timeout_seconds=PATIENCE_SECONDS)).phase == "ready"
    assert pauses == [5.0] * 3


@pytest.fixture
async def teams(store: Store, infrastructure: Infrastructure) -> AsyncIterator[tuple[ApiServices, ActingAs]]:
    """Room for all, and a quota of two for a team that has the cluster `demo`."""
    services = infrastructure.services(store, held=AnnouncedResponses(), follow_console=endless)
    async with ActingAs(services, RED) as acting:
        acting.timeout = httpx.Timeout(PATIENCE_SECONDS)
        await acting.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        await store.quotas.set(Given({"long_polls": 2}), "red")
        yield services, acting


async def test_a_team_holds_as_many_responses_as_its_quota_allows(
    teams: tuple[ApiServices, ActingAs],
) -> None:
    services, acting = teams
    await acting.post("/v1/clusters", json={"name": "kept", "image": "bare"})
    polls = [asyncio.create_task(acting.get(f"/v1/clusters/kept{end}")) for end in HELD]
    await until_number(services, 2)
    assert (await acting.get("/v1/quota")).json()["used"]["long_polls"] == 2
    for end, headers in ((HELD[0], {}), (HELD[1], {}), ("/events", STREAM)):
        refused = await acting.get(f"/v1/clusters/kept{end}", headers=headers)
        problem = check_problem(refused, 429, "long_polls_exceeded")
        assert refused.headers["retry-after"] == "5"
        assert problem["detail"] == (
            "long_polls: team red may have 2, has 2 (getCluster 1, listEvents 1), and the request needs 1 more"
        )
        assert problem["quota"] == {
            "team": "red",
            "name": "long_polls",
            "limit": 2,
            "used": 2,
            "wanted": 1,
            "largest": [{"name": "getCluster", "amount": 1}, {"name": "listEvents", "amount": 1}],
        }
    acting.principal = BLUE
    await acting.post("/v1/clusters", json={"name": "theirs", "image": "bare"})
    other = asyncio.create_task(acting.get("/v1/clusters/theirs?wait=ready&timeout=60"))
    await until_number(services, 3)
    acting.principal = RED
    async with asyncio.timeout(PATIENCE_SECONDS):
        at_once = await acting.delete("/v1/clusters/demo?wait=deleted&timeout=60")
    assert (at_once.status_code, at_once.json()["desired"]) == (202, "absent"), "the change was made"
    services.closing.set()
    answers = await asyncio.gather(*polls, other)
    assert {answer.status_code for answer in answers} == {200}
    assert [services.held_of_teams.used(team) for team in ("red", "blue")] == [0, 0]


async def test_a_followed_console_counts_for_its_team(teams: tuple[ApiServices, ActingAs], worker: Worker) -> None:
    services, acting = teams
    await worker.make()
    url = "/v1/clusters/demo/nodes/node01/console?follow=true"
    followed = [asyncio.create_task(acting.get(url)) for _ in range(2)]
    await until_number(services, 2)
    check_problem(await acting.get(url), 429, "long_polls_exceeded")
    services.closing.set()
    await asyncio.gather(*followed, return_exceptions=True)
    assert services.held_of_teams.used("red") == 0


async def until_number(services: ApiServices, number: int) -> None:
    assert isinstance(services.held, AnnouncedResponses)
    while services.held.number < number:
        await services.held.next()


async def test_half_of_the_connections_are_for_short_requests(store: Store, infrastructure: Infrastructure) -> None:
    services = infrastructure.services(store, {"max_connections": 20}, held=HeldResponses(maximum=500))
    create_server(services)
    assert services.held.maximum == 10
