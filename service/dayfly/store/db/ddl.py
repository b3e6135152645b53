"""Helpers for table definitions: column types, references, partial indices. Not here: any table (tables.py)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, literal_column, text
from sqlalchemy.sql.elements import ColumnElement

SERIAL: Final = BigInteger().with_variant(Integer(), "sqlite")
BIG: Final = SERIAL
"""64 bits; SQLite's integers have no fixed width."""
PLAIN_JSON: Final = JSON(none_as_null=True)


def cluster_id(*, primary_key: bool = False) -> Column[str]:
    """The reference to a cluster. The row is deleted with the cluster's row."""
    owner = ForeignKey("clusters.id", ondelete="CASCADE")
    return Column("cluster_id", String(12), owner, primary_key=primary_key, nullable=False)


def condition(sql: str) -> ColumnElement[bool]:
    """A partial index's condition, which queries repeat."""
    # Untyped: for a Boolean, SQLAlchemy adds `= 1` on SQLite, which does not match the index.
    return literal_column(sql)


def partial(name: str, *columns: str, where: ColumnElement[bool], unique: bool = False) -> Index:
    """A partial index."""
    words = text(str(where))
    return Index(name, *columns, unique=unique, sqlite_where=words, postgresql_where=words)
