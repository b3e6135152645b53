"""The duration of creation: one cluster at a time on an idle service, and many at once; and of deletion."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Connection, connected
from tests.bench.process import IMAGE

REQUEST = {
    "image": IMAGE,
    "workers": {"count": 1},
    "labels": {"team": "bench"},
    "ttl_seconds": 24 * 3600,
}
GIVE_UP_SECONDS = 540.0
_WARM_UP = 5
_LOOK_SECONDS = 0.1
_HOLD_SECONDS = 50
_PAGE = 500
_NOT_READY = "&phase=pending&phase=provisioning"


async def one_by_one(fleet: Fleet, rounds: int) -> Figures:
    """From POST to the first step's event, each time on an otherwise idle service.

    `first_step`: until the client can read that event. `first_step_in_database`: between the two rows' times.
    """
    posts, seen, between, ready = [], [], [], []
    async with connected(fleet.port) as http:
        for turn in range(_WARM_UP + rounds):
            began = time.monotonic()
            answer = await http.request("POST", "/v1/clusters", REQUEST, expect=202)
            made = answer.json()
            event = await _event(http, made["id"], "step.started")
            noticed = time.monotonic() - began
            await _until_ready(http, made["id"])
            if turn >= _WARM_UP:
                posts.append(answer.seconds)
                seen.append(noticed)
                between.append((event - _time(made["created_at"])).total_seconds())
                ready.append(time.monotonic() - began)
    return {
        **spread("alone_post", posts),
        **spread("alone_first_step", seen),
        **spread("alone_first_step_in_database", between),
        **spread("alone_ready", ready),
    }


async def at_once(fleet: Fleet, clusters: int, callers: int) -> Figures:
    """`clusters` POSTs by `callers` connections, as fast as they are answered, until the last is ready."""
    used, began = fleet.cpu_seconds(), time.monotonic()
    taken = await _all(fleet, callers, (("POST", "/v1/clusters", REQUEST) for _ in range(clusters)))
    posted = time.monotonic() - began
    await _until_none(fleet, _NOT_READY)
    seconds = time.monotonic() - began
    return {
        **spread("burst_post", taken),
        "burst_posted_s": posted,
        "burst_all_ready_s": seconds,
        "burst_creations_per_s": clusters / seconds,
        **await _waits(fleet, clusters),
        **_cpu("burst", used, fleet.cpu_seconds(), clusters),
    }


async def end_all(fleet: Fleet, callers: int) -> Figures:
    """DELETE for every living cluster at once, until the last is gone."""
    ids = [one["id"] for one in await _list(fleet)]
    used, began = fleet.cpu_seconds(), time.monotonic()
    taken = await _all(fleet, callers, (("DELETE", f"/v1/clusters/{one}", None) for one in ids))
    await _until_none(fleet, "")
    seconds = time.monotonic() - began
    return {
        **spread("end_delete", taken),
        "end_all_deleted_s": seconds,
        "end_deletions_per_s": len(ids) / seconds,
        **_cpu("end", used, fleet.cpu_seconds(), len(ids)),
    }


async def _all(fleet: Fleet, callers: int, requests: Iterator[tuple[str, str, object]]) -> list[float]:
    """The seconds that each took."""
    taken: list[float] = []

    async def call(http: Connection) -> None:
        for method, path, body in requests:
            taken.append((await http.request(method, path, body, expect=202)).seconds)

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(fleet.port)) for _ in range(callers)]
        await _together(call(http) for http in connections)
    return taken


async def _together(calls: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)


async def _event(http: Connection, cluster_id: str, type_: str) -> datetime:
    """When the first event of that type was written, once it is."""
    after = 0
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            path = f"/v1/clusters/{cluster_id}/events?after={after}&wait={_HOLD_SECONDS}"
            found = (await http.request("GET", path)).json()
            for event in found["events"]:
                if event["type"] == type_:
                    return _time(event["at"])
            after = found["next_after"]


async def _until_ready(http: Connection, cluster_id: str) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        path = f"/v1/clusters/{cluster_id}?wait=ready&timeout={_HOLD_SECONDS}"
        while (await http.request("GET", path)).json()["phase"] != "ready":
            pass


async def _until_none(fleet: Fleet, query: str) -> None:
    """Until a list with `query` is empty: of living clusters, where it names no phase."""
    async with asyncio.timeout(GIVE_UP_SECONDS), connected(fleet.port) as http:
        while (await http.request("GET", f"/v1/clusters?limit=1{query}")).json()["clusters"]:
            fleet.check()
            await asyncio.sleep(_LOOK_SECONDS)


async def _list(fleet: Fleet) -> list[dict[str, Any]]:
    """All living clusters, the latest first."""
    found: list[dict[str, Any]] = []
    path: str | None = f"/v1/clusters?limit={_PAGE}"
    async with connected(fleet.port) as http:
        while path is not None:
            page = (await http.request("GET", path)).json()
            found += page["clusters"]
            cursor = page["next_cursor"]
            path = None if cursor is None else f"/v1/clusters?limit={_PAGE}&cursor={quote(cursor)}"
    return found


async def _waits(fleet: Fleet, clusters: int) -> Figures:
    """Of the latest clusters: how long they waited to be admitted, and to be ready, by the database's clock."""
    made = await _list(fleet)
    times = [{name: _time(one[name]) for name in ("created_at", "admitted_at", "ready_at")} for one in made[:clusters]]
    return {
        **spread("burst_admitted", [(one["admitted_at"] - one["created_at"]).total_seconds() for one in times]),
        **spread("burst_ready", [(one["ready_at"] - one["created_at"]).total_seconds() for one in times]),
    }


def _time(told: str) -> datetime:
    return datetime.fromisoformat(told)


def _cpu(name: str, before: Mapping[str, float], after: Mapping[str, float], clusters: int) -> Figures:
    """The CPU time of each process for one cluster, in milliseconds."""
    return {f"{name}_cpu_{who}_ms_each": 1000 * (after[who] - before[who]) / clusters for who in after}
