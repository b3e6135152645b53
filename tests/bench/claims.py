"""The response time of a POST that claims a pool member, while the pool refills itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.bench.creation import GIVE_UP_SECONDS, REQUEST
from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Connection, connected

_POOL = {"name": "bench", "image": REQUEST["image"], "workers": REQUEST["workers"]}
_LOOK_SECONDS = 0.02
_WARM_UP = 3


async def claims(fleet: Fleet, rounds: int, members: int) -> Figures:
    """`rounds` claims in turn from a pool of `members`; each must get a member."""
    taken = []
    async with connected(fleet.port) as http:
        await http.request("POST", "/v1/pools", {**_POOL, "size": members}, expect=201)
        await until_ready(http, "bench", members)
        for turn in range(_WARM_UP + rounds):
            # Several members: a worker still holds a member that has just become ready.
            await until_ready(http, "bench", max(1, members // 2))
            answer = await http.request("POST", "/v1/clusters", REQUEST, expect=202)
            if not is_claimed(answer.json()):
                raise RuntimeError("a claim found no member")
            if turn >= _WARM_UP:
                taken.append(answer.seconds)
        await http.request("DELETE", "/v1/pools/bench", expect=202)
    return spread("claim", taken)


def is_claimed(created: Mapping[str, object]) -> bool:
    """Whether the POST's cluster was a pool member: only members are forks before they start."""
    return created["template"] is not None


async def until_ready(http: Connection, pool: str, members: int) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            if (await http.request("GET", f"/v1/pools/{pool}")).json()["ready"] >= members:
                return
            await asyncio.sleep(_LOOK_SECONDS)
