"""Receives other processes' commits by PostgreSQL's LISTEN, on a connection of its own.

No task keeps the connection: a waiting caller reconnects it. When the connection breaks, all watches are notified, and
once more after the reconnect, because notifications in between were lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ARRAY, URL, Text, bindparam, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from dayfly.errors import DatabaseUnavailable
from dayfly.store.driver_errors import translated
from dayfly.store.notify.commit_notifier import CommitNotifier

CHANNEL: Final = "dayfly_cluster"
"""Payload: the sending store's origin, a space, the topic."""

_CONNECT_SECONDS: Final = 10.0
_PAYLOADS: Final = func.unnest(cast(bindparam("payloads"), ARRAY(Text))).column_valued("payload")
_NOTIFY: Final = select(func.pg_notify(CHANNEL, _PAYLOADS))


class PostgresqlListener:
    def __init__(self, address: URL, notifier: CommitNotifier) -> None:
        # No pool: the connection is never shared, and a broken connection cannot be reused.
        self._engine = create_async_engine(
            address,
            poolclass=NullPool,
            connect_args={"timeout": _CONNECT_SECONDS, "server_settings": {"application_name": "dayfly-listen"}},
        )
        self._notifier = notifier
        self._connection: AsyncConnection | None = None
        self._alive = False
        self._closed = False
        self._connecting = asyncio.Lock()

    async def heard(self) -> bool:
        """Reconnect if necessary; whether the connection is up."""
        if not self._alive and not self._closed:
            try:
                await self.connect()
            except DatabaseUnavailable:
                return False  # the waiting caller reads the database next, and gets the error there
        return self._alive

    async def notify(self, connection: AsyncConnection, topics: Collection[str]) -> None:
        """Notify every other process if and when the transaction of `connection` commits."""
        payloads = [f"{self._notifier.origin} {topic}" for topic in sorted(topics)]
        await connection.execute(_NOTIFY, {"payloads": payloads})

    async def connect(self) -> None:
        """Connect unless connected. Raises DatabaseUnavailable."""
        async with self._connecting:
            if self._alive or self._closed:
                return
            await self._drop()
            async with translated(_CONNECT_SECONDS):
                connection = await self._engine.connect()
                try:
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    driver.add_termination_listener(self._terminated)
                    await driver.add_listener(CHANNEL, self._heard)
                except BaseException:
                    await connection.close()
                    raise
            self._connection, self._alive = connection, True
        self._notifier.wake_all()

    async def close(self) -> None:
        """Close the connection for good."""
        self._closed = True
        self._alive = False
        async with self._connecting:
            await self._drop()
            await self._engine.dispose()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.remove_termination_listener(self._terminated)
            # Drop the socket without a protocol exchange: the network may be dead.
            await connection.invalidate()
            await connection.close()

    def _heard(self, connection: object, pid: int, channel: str, payload: str) -> None:  # noqa: ARG002
        origin, _, topic = payload.partition(" ")
        if origin != self._notifier.origin:
            self._notifier.wake(topic)

    def _terminated(self, connection: object) -> None:  # noqa: ARG002
        self._alive = False
        self._notifier.wake_all()
