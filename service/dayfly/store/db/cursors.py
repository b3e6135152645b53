"""Cursors of listings that are ordered by time of creation and id, newest first."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_, or_

from dayfly.errors import InvalidRequest


def cursor_of(row: Row[Any]) -> str:
    """The cursor of the page that `row` ends."""
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def older_than(cursor: str, table: Table) -> ColumnElement[bool]:
    """Rows of `table` that are older than the last row of the page that `cursor` ends. Raises InvalidRequest."""
    try:
        created, row_id = json.loads(base64.urlsafe_b64decode(cursor))
        created_at = datetime.fromisoformat(created)
        valid = created_at.tzinfo is not None and isinstance(row_id, str) and row_id.isalnum()
        created_at = created_at.astimezone(UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        valid = False
    if not valid:
        raise InvalidRequest("cursor: not a cursor of a page; start without a cursor")
    older = table.c.created_at < created_at
    return or_(older, and_(table.c.created_at == created_at, table.c.id < row_id))
