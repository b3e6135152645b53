"""GET /v1/usage: sums by team, principal, label and day, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from dayfly.domain.security.principal import Principal, Role
from dayfly.store import Store
from dayfly.store.db.accounting_tables import usage_intervals
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import Infrastructure, Worker

RED = Principal("token:red", "red", Role.USER)
BLUE = Principal("token:blue", "blue", Role.USER)
OPERATOR = Principal("uid:0", "default", Role.OPERATOR)
NIGHT = 1_767_225_600
"""A midnight, 2026-01-01."""
PERIOD = "since=2025-12-31T00:00:00Z&until=2026-01-01T00:00:10Z"


@pytest.fixture
async def acting(store: Store, infrastructure: Infrastructure, worker: Worker) -> AsyncIterator[ActingAs]:
    """An operator; red and blue have a cluster each, from ten seconds before midnight on."""
    async with ActingAs(infrastructure.services(store)) as client:
        for principal, labels in ((RED, {"ci": "=unit"}), (BLUE, {})):
            client.principal = principal
            wanted = {"image": "bare", "owner": principal.team, "labels": labels}
            assert (await client.post("/v1/clusters", json=wanted)).status_code == 202
        await worker.tend()
        async with store._database.write() as transaction:
            await transaction.execute(update(usage_intervals).values(began_ms=(NIGHT - 10) * 1000))
        client.principal = OPERATOR
        yield client


async def usage(http: httpx.AsyncClient, query: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/usage?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


AMOUNT = {"vcpu_seconds": 40, "memory_gib_seconds": 704 * 20 / 1024, "disk_gib_seconds": 160}


def row(**group: object) -> dict[str, Any]:
    return {"team": None, "principal": None, "labels": {}, "day": None, **AMOUNT, **group}


async def test_by_all(acting: ActingAs) -> None:
    found = await usage(acting, f"by=team&by=principal&by=label:ci&{PERIOD}")
    assert found["usage"] == [
        row(team="blue", principal="token:blue", labels={"ci": None}),
        row(team="red", principal="token:red", labels={"ci": "=unit"}),
    ]
    assert found["total"] == {name: 2 * amount for name, amount in AMOUNT.items()}
    assert (found["since"], found["until"]) == ("2025-12-31T00:00:00Z", "2026-01-01T00:00:10Z")
    assert found["next_cursor"] is None


async def test_days_add_up(acting: ActingAs) -> None:
    found = await usage(acting, f"by=day&{PERIOD}")
    assert [(one["day"], one["vcpu_seconds"]) for one in found["usage"]] == [("2025-12-31", 40), ("2026-01-01", 40)]
    assert (await usage(acting, PERIOD))["usage"] == [row(**{name: 2 * value for name, value in AMOUNT.items()})]


async def test_what_runs_counts_until_now(acting: ActingAs) -> None:
    first = await usage(acting, "since=2025-12-01T00:00:00Z")
    again = await usage(acting, "since=2025-12-01T00:00:00Z&until=9999-12-31T23:59:59Z")
    assert again["until"] >= first["until"] > "2026-01-02"
    assert again["total"]["vcpu_seconds"] >= first["total"]["vcpu_seconds"] > 40 * 1000


async def test_a_team_sees_its_own(acting: ActingAs) -> None:
    acting.principal = RED
    assert [one["team"] for one in (await usage(acting, f"by=team&{PERIOD}"))["usage"]] == ["red"]
    other = await usage(acting, f"by=team&team=blue&{PERIOD}")
    assert (other["usage"], other["total"]["vcpu_seconds"]) == ([], 0)
    acting.principal = OPERATOR
    assert [one["team"] for one in (await usage(acting, f"by=team&team=blue&{PERIOD}"))["usage"]] == ["blue"]


async def test_pages_are_of_one_moment(acting: ActingAs) -> None:
    first = await usage(acting, "by=team&limit=1&since=2025-12-31T00:00:00Z")
    assert [one["team"] for one in first["usage"]] == ["blue"]
    second = await usage(acting, f"by=team&limit=1&since=2025-12-31T00:00:00Z&cursor={first['next_cursor']}")
    assert [one["team"] for one in second["usage"]] == ["red"]
    assert second["next_cursor"] is None
    assert second["until"] == first["until"]
    assert second["total"] == first["total"]
    assert (await usage(acting, "cursor=999999999-0-999999999999"))["usage"] == []
    # The pages of a request without a period are of that of the first one, whenever the others are asked for.
    first = await usage(acting, "by=team&limit=1")
    later = await usage(acting, f"by=team&limit=1&cursor={first['next_cursor']}&until=2027-01-01T00:00:00Z")
    assert [later[end] for end in ("since", "until")] == [first[end] for end in ("since", "until")]


@pytest.mark.parametrize("how", ["format=csv", "accept"])
async def test_csv(acting: ActingAs, how: str) -> None:
    query, headers = (how, {}) if how != "accept" else ("by=team", {"Accept": "text/csv, application/json;q=0.5"})
    answer = await acting.get(f"/v1/usage?by=label:ci&by=team&{PERIOD}&{query}", headers=headers)
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.reader(io.StringIO(answer.text)))
    memory = str(AMOUNT["memory_gib_seconds"])
    assert table == [
        ["team", "label:ci", "vcpu_seconds", "memory_gib_seconds", "disk_gib_seconds"],
        ["blue", "", "40", memory, "160"],
        ["red", "'=unit", "40", memory, "160"],
    ]


async def test_odd_periods(acting: ActingAs) -> None:
    for query in (
        "since=0001-01-01T00:00:00%2B14:00&until=0001-01-01T00:00:00Z",
        "until=1970-01-01T00:00:00Z",
        "since=9999-12-31T23:59:59-14:00",
        "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
    ):
        assert (await usage(acting, f"by=day&{query}"))["usage"] == []
    for query in (
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "until=0.5",
        "since=1767225600",
        "by=cluster",
        "by=label:",
        "limit=0",
        "cursor=x",
    ):
        check_problem(await acting.get(f"/v1/usage?{query}"), 422, "invalid_request")
