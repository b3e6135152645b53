"""The columns with secrets. A test compares the list with the tables: a rotation forgets no column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Select, Table, select

from dayfly.domain.security.envelope import Place, Sealed
from dayfly.store.db.tables import secrets, template_secrets
from dayfly.store.db.webhook_tables import webhooks


@dataclass(frozen=True)
class SecretColumn:
    """A column of sealed secrets, in a table whose primary key is the column `key`."""

    table: Table
    key: Column[str]
    value: Column[Sealed]

    @property
    def rows(self) -> Select[str, Sealed]:
        """All rows: `row` is the key, `sealed` the secret."""
        return select(self.key.label("row"), self.value.label("sealed"))

    def place(self, row: str) -> Place:
        """The place of the secret of the row with that key."""
        return Place(self.table.name, self.value.name, row)


OF_CLUSTERS: Final = SecretColumn(secrets, secrets.c.cluster_id, secrets.c.content)
OF_TEMPLATES: Final = SecretColumn(template_secrets, template_secrets.c.template_id, template_secrets.c.content)
OF_WEBHOOKS: Final = SecretColumn(webhooks, webhooks.c.id, webhooks.c.secret)
SECRET_COLUMNS: Final = (OF_CLUSTERS, OF_TEMPLATES, OF_WEBHOOKS)
