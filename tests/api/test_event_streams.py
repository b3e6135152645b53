"""Events as text/event-stream, in virtual time: replay, live events, keep-alives, ends and bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from starlette.requests import Request
from structlog.testing import capture_logs

from dayfly.api.app import create_api
from dayfly.api.dependencies import ApiServices
from dayfly.api.event_stream import KEEP_ALIVE_SECONDS, PAGE, wants_stream
from dayfly.api.held_responses import HeldResponses
from dayfly.domain.cluster.model import NewEvent
from dayfly.errors import DatabaseUnavailable, TooManyStreams
from dayfly.store import Change, Store
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.event_streams import STREAM, Frame, OpenStream, open_stream
from tests.support.inline_store import inline_store
from tests.support.virtual_time import LoopClock, VirtualLoop, running_loop

EVENTS = "/v1/clusters/demo/events"


@dataclass
class Stage:
    """An API in virtual time, with the ready cluster `demo`."""

    store: Store
    services: ApiServices = field(init=False)
    http: ApiHttp = field(init=False)
    app: Any = field(init=False)

    async def __aenter__(self) -> Stage:
        self.restart()
        await self.store.teams.create("them", "")
        await self.create("demo")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.http.aclose()
        assert not self.store._database.notifier._watches, "a stream that ended still watches"
        assert self.services.streams.number == 0

    def restart(self) -> None:
        """Another process on the same database."""
        streams = HeldResponses(3, refusal=TooManyStreams)
        self.services = Infrastructure().services(self.store, clock=LoopClock(), streams=streams)
        self.app = create_api(self.services)
        self.http = ApiHttp(self.services)

    async def create(self, name: str, **fields: object) -> None:
        answer = await self.http.post("/v1/clusters", json={"name": name, "image": "bare", **fields})
        assert answer.status_code == 202, answer.text
        await Worker(self.store).tend()

    async def label(self, name: str, value: str) -> None:
        await self.store.updates.change(name, Change(labels={"at": value}))

    async def delete(self, name: str) -> None:
        await self.http.delete(f"/v1/clusters/{name}")
        await Worker(self.store).tend()

    async def listed(self, path: str = EVENTS) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get(path)).json()["events"]
        return found

    def stream(self, path: str = EVENTS, *, slow: bool = False, last_event_id: str | None = None) -> Any:
        given = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        return open_stream(self.app, path, {**STREAM, **given}, slow=slow)


Play = Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play() -> Play:
    """Runs a test with a stage, in virtual time."""
    limiters: list[CapacityLimiter] = []

    def busy() -> bool:
        """FastAPI runs a dependency that is no coroutine in a thread: no time passes meanwhile."""
        return any(limiter.borrowed_tokens for limiter in limiters)

    def run(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def staged() -> None:
            limiters.append(current_default_thread_limiter())
            with inline_store() as store:
                async with Stage(store) as stage:
                    await scene(stage)

        with asyncio.Runner(loop_factory=lambda: VirtualLoop(busy=busy)) as runner:
            runner.run(staged())

    return run


async def until_quiet(stream: OpenStream) -> list[Frame]:
    """The frames with data up to the next keep-alive."""
    found = []
    while (frame := await stream.frame()) is not None and frame.comment is None:
        found.append(frame)
    return [frame for frame in found if frame.data is not None]


def shown(frames: list[Frame]) -> list[dict[str, Any]]:
    assert all(frame.id == str(json.loads(frame.data or "")["id"]) for frame in frames)
    return [json.loads(frame.data or "") for frame in frames]


@pytest.mark.parametrize("path", [EVENTS, "/v1/events"])
def test_a_stream_has_what_was_and_what_comes(play: Play, path: str) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.stream(path) as stream:
            assert stream.status == 200
            assert stream.response_headers["content-type"].startswith("text/event-stream")
            assert stream.response_headers["cache-control"] == "no-store"
            assert await stream.frame() == Frame(id="0", retry="1000")
            past = shown(await until_quiet(stream))
            assert past == await stage.listed(path)
            await stage.label("demo", "one")
            (frame,) = await stream.frames(1)
            (new,) = shown([frame])
            assert (new["type"], frame.event) == ("cluster.changed", None)
            assert [*past, new] == await stage.listed(path)

    play(scene)


def test_silence_is_kept_alive(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        newest = str((await stage.listed())[-1]["id"])
        async with stage.stream(f"{EVENTS}?after=latest") as stream:
            assert await stream.frame() == Frame(id=newest, retry="1000")
            began = running_loop().time()
            for count in (1, 2, 3):
                assert await stream.frame() == Frame(id=newest, comment="keep-alive")
                assert running_loop().time() - began == pytest.approx(count * KEEP_ALIVE_SECONDS)

    play(scene)


@pytest.mark.parametrize("path", [f"{EVENTS}?after=latest", "/v1/events?owner=default&after=latest"])
def test_other_events_do_not_put_off_the_keep_alive(play: Play, path: str) -> None:
    async def scene(stage: Stage) -> None:
        await stage.create("busy", owner="them")
        async with stage.stream(path) as stream:
            await stream.frames(1)
            for number in range(2 * int(KEEP_ALIVE_SECONDS) + 1):
                await asyncio.sleep(1)
                await stage.label("busy", str(number))
                stage.store._database.notifier.wake((await stage.store.clusters.get("demo")).id)  # as a heartbeat
            async with asyncio.timeout(1):
                assert [frame.comment for frame in await stream.frames(2)] == ["keep-alive"] * 2

    play(scene)


def test_a_lost_notification_delays_an_event_until_the_keep_alive(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.stream(f"{EVENTS}?after=latest") as stream:
            assert await until_quiet(stream) == []
            await asyncio.sleep(1)  # until the stream waits again
            monkeypatch.setattr(stage.store._database.notifier, "wake", lambda _: None)
            await stage.label("demo", "one")
            keep_alive, event = await stream.frames(2)
            assert (keep_alive.data, event.data is None) == (None, False)

    play(scene)


def test_it_goes_on_after_the_last_event_that_the_caller_has(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        past = await stage.listed()
        last, before = past[-1]["id"], past[-2]["id"]
        for path, header in (
            (f"{EVENTS}?after={before}", None),
            (EVENTS, str(before)),
            (f"{EVENTS}?after=1", str(before)),
            (f"/v1/events?after={before}", None),
            ("/v1/events?after=latest", str(before)),
        ):
            async with stage.stream(path, last_event_id=header) as stream:
                assert (await stream.frames(1))[0].id == str(before)
                assert [frame.id for frame in await until_quiet(stream)] == [str(last)]
        for headers in ({"Last-Event-ID": "x"}, {"Last-Event-ID": "-1"}, {"Last-Event-ID": str(2**63)}):
            check_problem(await stage.http.get(EVENTS, headers={**STREAM, **headers}), 422, "invalid_request")
        check_problem(await stage.http.get(f"{EVENTS}?after=newest", headers=STREAM), 422, "invalid_request")

    play(scene)


def test_it_ends_when_the_cluster_is_deleted(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        identity = (await stage.http.get("/v1/clusters/demo")).json()["id"]
        async with stage.stream() as stream:
            await until_quiet(stream)
            await stage.delete("demo")
            rest = [await stream.frame() for _ in range(3)]
            assert await stream.frame() is None
        *_, last, end = rest
        assert last is not None
        assert json.loads(last.data or "")["message"] == "deleting → deleted"
        assert end == Frame(id=last.id, event="end", data='{"phase": "deleted"}')
        async with stage.stream(f"/v1/clusters/{identity}/events", last_event_id=str(last.id)) as stream:
            assert [await stream.frame() for _ in range(3)] == [Frame(id=last.id, retry="1000"), end, None]

    play(scene)


def test_it_ends_when_the_record_is_removed(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.stream() as stream:
            last = (await until_quiet(stream))[-1]
            monkeypatch.setattr(stage.store._database.notifier, "wake", lambda _: None)
            await stage.delete("demo")
            await stage.store.maintenance.purge_deleted(0.0, 10)
            rest = [await stream.frame() for _ in range(3)]
        assert rest == [
            Frame(id=last.id, comment="keep-alive"),
            Frame(id=last.id, event="end", data='{"phase": "deleted"}'),
            None,
        ]

    play(scene)


def test_it_ends_with_the_service_and_goes_on_at_the_next_process(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        seen = []
        async with stage.stream("/v1/events") as stream:
            seen += await until_quiet(stream)
            await stage.label("demo", "one")
            seen += await stream.frames(1)
            stage.services.closing.set()
            farewell, end = await stream.frame(), await stream.frame()
            assert (farewell, end) == (Frame(id=seen[-1].id, retry="1000", comment="connect again"), None)
        await stage.http.aclose()
        await stage.label("demo", "two")
        stage.restart()
        async with stage.stream("/v1/events", last_event_id=str(seen[-1].id)) as stream:
            seen += await until_quiet(stream)
        assert shown(seen) == await stage.listed("/v1/events")

    play(scene)


def test_streams_are_bounded(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.stream(), stage.stream("/v1/events") as second:
            await second.frames(1)
            async with stage.stream():
                for path in (EVENTS, "/v1/events"):
                    refused = await stage.http.get(path, headers=STREAM)
                    check_problem(refused, 503, "too_many_streams")
                    assert refused.headers["retry-after"] == "5"
                    assert (await stage.http.get(path)).status_code == 200
                assert (await stage.http.get("/v1/clusters/demo?wait=deleted&timeout=1")).status_code == 200
            async with stage.stream() as third:
                assert third.status == 200

    play(scene)


def test_a_caller_that_does_not_read_keeps_one_page(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        (claim,) = await claim_again(stage)
        await stage.store.status.record(claim, [NewEvent("x", f"{number}") for number in range(3 * PAGE)])
        reads = 0
        page = stage.store.event_feed.page

        async def counted(*given: Any, **named: Any) -> Any:
            nonlocal reads
            reads += 1
            return await page(*given, **named)

        monkeypatch.setattr(stage.store.event_feed, "page", counted)
        async with stage.stream("/v1/events", slow=True) as stream:
            await stream.frames(2)
            await asyncio.sleep(3600)
            assert reads == 1
            rest = await until_quiet(stream)
            assert len(rest) + 1 == len(await stage.listed("/v1/events"))

    play(scene)


async def claim_again(stage: Stage) -> Any:
    await stage.http.post("/v1/clusters/demo/reset")
    return await stage.store.leases.claim("worker", lease_seconds=10_000, limit=1)


def test_an_outage_of_the_database_ends_it(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        async def fail(*_given: Any, **_named: Any) -> Any:
            raise DatabaseUnavailable("the database does not answer", operator_detail="refused")

        async with stage.stream("/v1/events") as stream:
            past = await until_quiet(stream)
            monkeypatch.setattr(stage.store.event_feed, "page", fail)
            with capture_logs() as logs:
                _keep_alive, farewell, end = await stream.frame(), await stream.frame(), await stream.frame()
        assert (farewell, end) == (Frame(id=past[-1].id, retry="1000", comment="connect again"), None)
        assert [one["log_level"] for one in logs if "database" in one["event"]] == ["warning"]
        check_problem(await stage.http.get("/v1/events"), 503, "database_unavailable")

    play(scene)


def test_filters_of_all_events(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.create("other", owner="them", labels={"team": "a"})
        every = await stage.listed("/v1/events")
        assert {one["cluster_name"] for one in every} == {"demo", "other"}
        assert {one["owner"] for one in every} == {"default", "them"}
        theirs = [one for one in every if one["cluster_name"] == "other"]
        for query in ("owner=them", "label=team%3Da", "cluster=other", f"cluster={theirs[0]['cluster']}"):
            assert await stage.listed(f"/v1/events?{query}") == theirs
            async with stage.stream(f"/v1/events?{query}") as stream:
                assert shown(await until_quiet(stream)) == theirs
        phases = [one for one in every if one["type"] == "phase"]
        assert await stage.listed("/v1/events?kind=phase") == phases
        assert await stage.listed("/v1/events?purpose=pool_member") == []
        for query in ("cluster=A", "kind=%00", "label=x", "owner=-", "purpose=x", "after=-1", "limit=0"):
            check_problem(await stage.http.get(f"/v1/events?{query}"), 422, "invalid_request")

    play(scene)


def test_a_filtered_stream_passes_other_events(play: Play) -> None:
    """So that a caller who connects again does not make the service look at all of them again."""

    async def scene(stage: Stage) -> None:
        async with stage.stream("/v1/events?owner=them&after=latest") as stream:
            await stream.frames(1)
            await stage.label("demo", "one")
            frame = await stream.frame()
        assert frame == Frame(id=str(await stage.store.event_feed.newest()), comment="keep-alive")

    play(scene)


def test_pages_of_all_events(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        every = await stage.listed("/v1/events")
        found: list[dict[str, Any]] = []
        after = 0
        while part := (await stage.http.get(f"/v1/events?limit=2&after={after}")).json():
            if not part["events"]:
                break
            assert len(part["events"]) <= 2
            found += part["events"]
            after = part["next_after"]
        assert (found, after) == (every, every[-1]["id"])
        latest = (await stage.http.get("/v1/events?after=latest")).json()
        assert latest == {"events": [], "next_after": every[-1]["id"]}

    play(scene)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; q=0.5", True),
        ("text/event-stream, application/json;q=0.9", True),
        ("application/json, text/event-stream", True),
        ("text/event-stream;q=0.8, application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0.000", False),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_who_gets_a_stream(accept: str, expected: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert wants_stream(request) is expected


def test_both_answers_depend_on_the_accept_header(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        for path in (EVENTS, "/v1/events"):
            answer: httpx.Response = await stage.http.get(path)
            assert answer.headers["vary"] == "Accept"
            async with stage.stream(path) as stream:
                assert stream.response_headers["vary"] == "Accept"
        check_problem(await stage.http.get("/v1/clusters/nothing/events", headers=STREAM), 404, "not_found")

    play(scene)
