"""Leaves out ids of a table whose ids count up: SQLite and PostgreSQL keep the last one in places of their own."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def skip_ids(connection: AsyncConnection, table: str, number: int) -> None:
    """The next id of `table` is greater by `number` than it would have been."""
    values = {"table": table, "number": number}
    if connection.dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence(:table, 'id')"
        await connection.execute(text(f"SELECT setval({sequence}, nextval({sequence}) + :number)"), values)
        return
    skipped = await connection.execute(
        text("UPDATE sqlite_sequence SET seq = seq + :number WHERE name = :table"), values
    )
    if not skipped.rowcount:  # no row was ever inserted
        await connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)"), values)
