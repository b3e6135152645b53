"""Simultaneous claims, as many as the pool has members: each must get a member.

Not here: claims in turn (claims.py).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.bench.claims import is_claimed, until_ready
from tests.bench.creation import REQUEST
from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Answer, Connection, connected

_POOL = {"name": "burst", "image": REQUEST["image"], "workers": REQUEST["workers"]}


@dataclass(frozen=True)
class Burst:
    """`without_member`: requests whose copies did not all get the same pool member."""

    seconds: list[float]
    without_member: int


async def bursts(fleet: Fleet, rounds: int, members: int, copies: int) -> Figures:
    """`rounds` bursts of `members` requests; then as many bursts with `copies` of each request under one key."""
    figures: Figures = {}
    async with connected(fleet.port) as http:
        await http.request("POST", "/v1/pools", {**_POOL, "size": members}, expect=201)
    for name, times in (("burst_claims", 1), ("burst_keyed_claims", copies)):
        done = []
        for turn in range(rounds):
            async with connected(fleet.port) as http:
                await until_ready(http, "burst", members)
            done.append(await _burst(fleet, f"{name}-{turn}", members, times))
        figures |= spread(name, [seconds for burst in done for seconds in burst.seconds])
        figures[f"{name}_rounds_all_served"] = sum(burst.without_member == 0 for burst in done)
        figures[f"{name}_without_member"] = sum(burst.without_member for burst in done)
    return figures


async def _burst(fleet: Fleet, key: str, requests: int, copies: int) -> Burst:
    """Send `requests` requests at once, `copies` of each with one key, each on its own connection; delete clusters."""
    async with AsyncExitStack() as stack:
        # New connections for each burst: the API closes connections that are idle for some seconds.
        opened = [await stack.enter_async_context(connected(fleet.port)) for _ in range(requests * copies)]
        posts = [_post(http, f"{key}-{number // copies}") for number, http in enumerate(opened)]
        answers = await asyncio.gather(*posts)
    bodies = [answer.json() for answer in answers]
    async with connected(fleet.port) as http:
        for cluster_id in {body["id"] for body in bodies}:
            await http.request("DELETE", f"/v1/clusters/{cluster_id}", expect=202)
    # By request: copies that got different clusters are not well served.
    outcomes: defaultdict[int, set[tuple[bool, str]]] = defaultdict(set)
    for number, body in enumerate(bodies):
        outcomes[number // copies].add((is_claimed(body), body["id"]))
    served = sum([claimed for claimed, _ in outcome] == [True] for outcome in outcomes.values())
    return Burst([answer.seconds for answer in answers], len(outcomes) - served)


async def _post(http: Connection, key: str) -> Answer:
    return await http.request("POST", "/v1/clusters", REQUEST, headers={"Idempotency-Key": key}, expect=(201, 202))
