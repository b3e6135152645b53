"""200 callers repeat a POST of their own, with one key each, at two API processes on one PostgreSQL: 200 clusters.

Half of the callers send all their requests at once. The others' connections are cut at random bytes, of the request or
of the answer; their last request tells what became of those before. The processes are real, but for their engine.

Not here: which requests are the same (tests/api/test_idempotency.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, select

from dayfly.domain.security.principal import Role
from dayfly.store import Store
from dayfly.store.db.tables import clusters, idempotency_keys
from tests.bench.fleet import Fleet, fleet
from tests.bench.lean_http import Answer, Connection, connected, encoded
from tests.bench.process import IMAGE
from tests.support.callers import new_callers
from tests.support.databases import migrated_postgresql
from tests.support.postgres import postgres_server

CALLERS = 200
REQUESTS = 5
"""Of each caller."""
LIMIT_SECONDS = 300
PATH = "/v1/clusters"
MOST_READ = 500
"""Bytes: less than the shortest answer."""
MOST_WAIT_SECONDS = 0.2
PAUSE_SECONDS = 0.5


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Fleet]:
    with (
        postgres_server() as server,
        migrated_postgresql(server) as url,
        fleet(tmp_path, url, workers=0, apis=2, loopback_is_operator="false") as running,
    ):
        yield running


@dataclass
class Caller:
    """`token`: the header with its token. `cuts`: what was cut (`request`, `silence`, `answer`) → how often.

    `refused`: how often it got 503, as from a busy machine: it repeats that request.
    """

    number: int
    ports: tuple[int, ...]
    token: Mapping[str, str]
    random: Random
    answers: list[Answer] = field(default_factory=list)
    cuts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    accepted: int = 0
    """Of the answers that were cut: those of which so much was read that they say 202."""

    @property
    def headers(self) -> Mapping[str, str]:
        # The same text for all: a key is its caller's.
        return {**self.token, "Idempotency-Key": "nightly"}

    @property
    def body(self) -> object:
        return {"image": IMAGE, "labels": {"caller": f"c{self.number}"}}

    def port(self, request: int) -> int:
        return self.ports[(self.number + request) % len(self.ports)]

    async def send_at_once(self) -> None:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(connected(self.port(one))) for one in range(REQUESTS)]
            self.answers += await asyncio.gather(*map(self._until_accepted, opened))

    async def send_again(self) -> None:
        """One request after the other: all but the last are cut."""
        for one in range(REQUESTS - 1):
            await self._cut(self.port(one))
        async with connected(self.port(REQUESTS - 1)) as http:
            self.answers.append(await self._until_accepted(http))

    async def _until_accepted(self, http: Connection) -> Answer:
        while True:
            answer = await http.request(
                "POST", PATH, self.body, headers=self.headers, expect=(202, 503), seconds=LIMIT_SECONDS
            )
            if answer.status == 202:
                return answer
            self.refused += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _cut(self, port: int) -> None:
        request = encoded(port, "POST", PATH, self.body, self.headers)
        kind = self.random.choice(["request", "silence", "answer"])
        self.cuts[kind] += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request[: self.random.randrange(len(request))] if kind == "request" else request)
            if kind == "answer":
                read = await reader.readexactly(self.random.randrange(1, MOST_READ))
                self.accepted += read.startswith(b"HTTP/1.1 202 ")
            else:
                await asyncio.sleep(self.random.uniform(0, MOST_WAIT_SECONDS))
        finally:
            writer.transport.abort()


async def test_there_is_one_cluster_for_each_caller(service: Fleet) -> None:
    url = service.environment["DAYFLY_DATABASE_URL"]
    tokens = await new_callers(url, "red", [Role.USER] * CALLERS)
    ports = tuple(service.ports.values())
    callers = [Caller(number, ports, token, Random(number)) for number, token in enumerate(tokens)]  # noqa: S311
    at_once, cut = callers[::2], callers[1::2]
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        for one in at_once:
            group.create_task(one.send_at_once())
        for one in cut:
            group.create_task(one.send_again())

    found = await recorded(url)
    assert len(found) == CALLERS
    for one in callers:
        assert {(answer.json()["id"], answer.json()["labels"]["caller"]) for answer in one.answers} == {
            (found[f"c{one.number}"], f"c{one.number}")
        }
    for one in at_once:
        assert len(one.answers) == REQUESTS
        # A 503 may be the only answer to the request that was carried out.
        assert [is_repeated(answer) for answer in one.answers].count(False) in ({0, 1} if one.refused else {1})
    for one in cut:
        (answer,) = one.answers
        if one.accepted:
            assert is_repeated(answer), "an answer said that the request was accepted"
        if one.cuts["request"] == REQUESTS - 1:
            assert not is_repeated(answer), "no request arrived as a whole"
    assert sum(one.accepted for one in cut) > 20
    assert min(sum((one.cuts for one in cut), Counter()).values()) > 50
    assert {is_repeated(answer) for one in cut for answer in one.answers} == {True, False}
    for name in service.ports:
        assert "Traceback" not in service.last_words(name)


async def recorded(url: str) -> Mapping[str, str]:
    """The label of each cluster → its id. There is a key for each cluster, and no other cluster."""
    store = await Store.open(url)
    try:
        async with store._database.read() as connection:
            rows: Any = (await connection.execute(select(clusters.c.id, clusters.c.spec))).all()
            keys = (await connection.execute(select(func.count()).select_from(idempotency_keys))).scalar_one()
    finally:
        await store.close()
    assert keys == len(rows)
    found = {row.spec["labels"]["caller"]: str(row.id) for row in rows}
    assert len(found) == len(rows), "a caller has more than one cluster"
    return found


def is_repeated(answer: Answer) -> bool:
    """Whether an earlier request had been carried out."""
    return answer.headers.get("idempotency-replayed") == "true"
