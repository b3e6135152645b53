"""Requests of the asynchronous client about bakes of node images, and the wait for the end of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from dayfly.client import async_connection, retries, waiting
from dayfly.client.async_connection import AsyncConnection
from dayfly.client.errors import BakeFailed, BakeTimeout
from dayfly.client.transport import path_of
from dayfly.schemas.bakes import Bake, BakeEvent, BakeEventList, BakeList, BakeSummary, bake_is_over
from dayfly.vocabulary import BakeWait

_PAGE: Final = 500


class AsyncBakes(AsyncConnection):
    """Bakes: node images that the server builds and verifies."""

    async def create_bake(
        self,
        recipe: str | None = None,
        *,
        variables: Mapping[str, object] | None = None,
        definition: Mapping[str, Any] | None = None,
        owner: str | None = None,
        readiness: Literal["conformance"] | None = None,
        conformance: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Bake:
        """Request a bake of a recipe of the server, or of `definition`, a whole recipe; it is queued when this returns.

        `variables` replace those of the recipe. With the readiness `conformance` the cluster that verifies the image
        passes the specs `conformance`, or the image's short list.
        """
        fields = {
            "recipe": recipe,
            "variables": variables,
            "definition": definition,
            "owner": owner,
            "readiness": readiness,
            "conformance": conformance,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        return await self._read(Bake, "POST", "/v1/images", json=body, key=idempotency_key)

    async def bakes(
        self, *, phases: Sequence[str] = (), recipe: str | None = None, owner: str | None = None
    ) -> tuple[BakeSummary, ...]:
        """All bakes in one of `phases` (none given: in any), of `recipe` and of `owner`, newest first."""
        query = {"phase": phases, "recipe": recipe, "owner": owner, "limit": _PAGE}
        found: tuple[BakeSummary, ...] = ()
        cursor: str | None = None
        while True:
            page = await self._read(BakeList, "GET", "/v1/bakes", query={**query, "cursor": cursor})
            found += page.bakes
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def bake(self, bake_id: str, *, wait: BakeWait | None = None, timeout_seconds: float = 50.0) -> Bake:
        """One bake; with `wait`, once it has ended, or at the timeout."""
        path = path_of("bakes", bake_id)
        if wait is None:
            return await self._read(Bake, "GET", path, of=bake_id)
        return await self._read_held(Bake, path, {"wait": wait}, parameter="timeout", seconds=timeout_seconds)

    async def bake_events(self, bake_id: str, *, after: int = 0, wait_seconds: float = 0.0) -> BakeEventList:
        """The next events of a bake's log after id `after`; waits for one when there is none."""
        query = {"after": after, "limit": _PAGE}
        path = path_of("bakes", bake_id, "events")
        return await self._read_held(BakeEventList, path, query, parameter="wait", seconds=wait_seconds)

    async def all_bake_events(self, bake_id: str) -> tuple[BakeEvent, ...]:
        """The whole log so far, oldest first."""
        found: tuple[BakeEvent, ...] = ()
        while (part := await self.bake_events(bake_id, after=found[-1].id if found else 0)).events:
            found += part.events
        return found

    async def cancel_bake(self, bake_id: str) -> Bake:
        """Cancel it; wait_bake() waits until nothing unfinished is left. May be repeated."""
        return await self._read(Bake, "DELETE", path_of("bakes", bake_id), of=bake_id)

    async def wait_bake(self, bake_id: str, *, timeout_seconds: float = waiting.BAKE_SECONDS) -> Bake:
        """Until it has succeeded; goes on through outages of the server. Raises BakeFailed, BakeTimeout."""
        backoff = retries.Backoff(timeout_seconds)
        while True:
            remaining = backoff.remaining
            hold_seconds = min(remaining, waiting.HOLD_SECONDS)
            look = partial(self.bake, bake_id, wait="ended", timeout_seconds=hold_seconds)
            seen = await async_connection.async_retry(backoff, look)
            if bake_is_over(seen.phase):
                if seen.phase != "succeeded":
                    raise BakeFailed(seen)
                return seen
            if remaining <= 0:
                raise BakeTimeout(seen, timeout_seconds)
