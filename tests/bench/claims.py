"""How soon a POST is answered that finds its cluster waiting in a pool, while the pool refills itself."""

from __future__ import annotations

import asyncio

from tests.bench.creation import GIVE_UP_SECONDS, WISH
from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Connection, connected

_POOL = {"name": "bench", "image": WISH["image"], "workers": WISH["workers"]}
_LOOK_SECONDS = 0.02
_WARM_UP = 3


async def claims(fleet: Fleet, rounds: int, members: int) -> Figures:
    """`rounds` claims, one after the other, from a pool of so many; each is answered with 201, ready."""
    taken = []
    async with connected(fleet.port) as http:
        await http.request("POST", "/v1/pools", {**_POOL, "size": members}, expect=201)
        await until_ready(http, "bench", members)
        for turn in range(_WARM_UP + rounds):
            # Not only one: a worker is still at what has just become ready, and nobody is given that.
            await until_ready(http, "bench", max(1, members // 2))
            answer = await http.request("POST", "/v1/clusters", WISH, expect=201)
            if turn >= _WARM_UP:
                taken.append(answer.seconds)
        await http.request("DELETE", "/v1/pools/bench", expect=202)
    return spread("claim", taken)


async def until_ready(http: Connection, pool: str, members: int) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            if (await http.request("GET", f"/v1/pools/{pool}")).json()["ready"] >= members:
                return
            await asyncio.sleep(_LOOK_SECONDS)
