"""Column types, partial indices and the clock of the database, the same on SQLite and on PostgreSQL.

Not here: any table (tables.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    literal_column,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from dayfly.domain.security.envelope import Sealed


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC. On SQLite, which has no time zones, a text in UTC that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the store accepts only datetimes with a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatabaseNow(FunctionElement[datetime]):
    """The database's current time, in milliseconds on SQLite, in microseconds on PostgreSQL."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(element: DatabaseNow, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(element: DatabaseNow, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    # Not CURRENT_TIMESTAMP, the begin of the transaction: the transaction may have waited for a lock since.
    return "clock_timestamp()"


class SealedText(TypeDecorator[Sealed]):
    """A secret. A text that is not encrypted cannot be written, and what is read is decrypted by who needs the secret.

    Not here: how a secret is sealed and opened (secret_keys.py).
    """

    impl: type[TypeEngine[Any]] = Text
    cache_ok = True

    def process_bind_param(self, value: Sealed | None, dialect: Dialect) -> str:  # noqa: ARG002
        if not isinstance(value, Sealed):
            # Not the value: it is a secret.
            raise TypeError(f"a secret is stored as Sealed, and not as {type(value).__name__}")
        return value.text

    def process_result_value(self, value: Any, dialect: Dialect) -> Sealed:  # noqa: ARG002
        return Sealed(value if isinstance(value, str) else "")


class SealedJson(SealedText):
    """As SealedText, in a column that had JSON before secrets were encrypted."""

    impl = JSON
    cache_ok = True


SERIAL: Final = BigInteger().with_variant(Integer(), "sqlite")
BIG: Final = SERIAL
"""64 bits; SQLite's integers have no fixed width."""
PLAIN_JSON: Final = JSON(none_as_null=True)


def cluster_id(*, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    """The reference to a cluster. The row is deleted with the cluster's row."""
    owner = ForeignKey("clusters.id", ondelete="CASCADE")
    return Column("cluster_id", String(12), owner, primary_key=primary_key, nullable=nullable)


def condition(sql: str) -> ColumnElement[bool]:
    """A partial index's condition, which queries repeat."""
    # Untyped: for a Boolean, SQLAlchemy adds `= 1` on SQLite, which does not match the index.
    return literal_column(sql)


def partial(name: str, *columns: str, where: ColumnElement[bool], unique: bool = False) -> Index:
    words = text(str(where))
    return Index(name, *columns, unique=unique, sqlite_where=words, postgresql_where=words)
