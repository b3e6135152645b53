"""The base of the store's parts: each has its own queries, all share one database."""

from __future__ import annotations

from dayfly.store.db.database import Database


class StorePart:
    """One part of the store. Every public method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
