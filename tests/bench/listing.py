"""The response time of a page of very many clusters: plain, filtered, and far from the first."""

from __future__ import annotations

from urllib.parse import quote

from dayfly.store import Store
from tests.bench import records
from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Connection, connected

_WARM_UP = 3
PAGE = 100
PAGES = {
    "first_page": "",
    "label_of_half": "&label=env%3Dci",
    "label_of_few": "&label=team%3Dt7",
    "two_labels": "&label=env%3Dci&label=team%3Dt7",
    "label_of_none": "&label=team%3Dnobody",
    "owner": "&owner=owner-3",
    "phase_ready": "&phase=ready",
    "phase_failed": "&phase=failed",
    "phase_pending": "&phase=pending",
    "phase_deleted": "&phase=deleted",
    "owner_and_phase": "&owner=owner-3&phase=ready&label=env%3Dci",
    "deep_page": "{deep}",
}
"""Name → query; `deep` is the page in the middle."""


async def write(store: Store, number: int) -> None:
    """The records that are read."""
    await records.write(store, [records.cluster(i, records.mixed(i)) for i in range(number)])


async def pages(fleet: Fleet, number: int, rounds: int) -> Figures:
    """Reads pages of 100, of `number` records."""
    figures: Figures = {"list_records": number}
    async with connected(fleet.port) as http:
        cursor = await _cursor_after(http, number // 2)
        deep = f"&cursor={quote(cursor)}" if cursor else ""
        for name, query in PAGES.items():
            path = f"/v1/clusters?limit={PAGE}{query.format(deep=deep)}"
            answers = [await http.request("GET", path) for _ in range(_WARM_UP + rounds)][_WARM_UP:]
            figures |= spread(f"list_{name}", [answer.seconds for answer in answers])
            figures[f"list_{name}_found"] = len(answers[0].json()["clusters"])
        figures["list_all_pages_s"], figures["list_all_found"] = await _walk(http)
    return figures


async def _cursor_after(http: Connection, many: int) -> str | None:
    cursor, seen = None, 0
    while seen < many:
        page = (await http.request("GET", _next(cursor, 500))).json()
        seen, cursor = seen + len(page["clusters"]), page["next_cursor"]
        if cursor is None:
            break
    return cursor


async def _walk(http: Connection) -> tuple[float, float]:
    """All pages from first to last: seconds, and how many clusters they showed."""
    cursor, seconds, seen = None, 0.0, 0
    while True:
        answer = await http.request("GET", _next(cursor, PAGE))
        page = answer.json()
        seconds, seen, cursor = seconds + answer.seconds, seen + len(page["clusters"]), page["next_cursor"]
        if cursor is None:
            return seconds, seen


def _next(cursor: str | None, limit: int) -> str:
    return f"/v1/clusters?limit={limit}" + (f"&cursor={quote(cursor)}" if cursor else "")
