"""Which keys encrypt the database's secrets, and the only way to write and read a secret.

A row of `secret_keys` is a key that secrets may be encrypted with; one of them is in force: it encrypts. The keys
themselves are outside of the database (KeySource). A process that meets a key it does not know reads its source again:
so a rotation needs no restart. Not here: encryption (domain/security/envelope.py), rotation (store/secret_rotation.py).
"""

from __future__ import annotations

from typing import Final, Protocol

from sqlalchemy import Boolean, Column, String, Table, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.security.envelope import KeyRing, Place, Sealed
from dayfly.errors import SecretsKeyMissing, SecretsKeyUnusable
from dayfly.store.db.tables import metadata
from dayfly.store.db.types import DatabaseNow, UtcDateTime

secret_keys = Table(
    "secret_keys",
    metadata,
    # Derived from the key (domain/security/envelope.py).
    Column("id", String(16), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # Of one row: new secrets are encrypted with this key.
    Column("in_force", Boolean, nullable=False),
)

IN_FORCE: Final = select(secret_keys.c.id).where(secret_keys.c.in_force)
# A rotation waits for transactions that have sealed with the former key, and no later one does.
_IN_FORCE_UNTIL_COMMIT: Final = IN_FORCE.with_for_update(read=True)


class KeySource(Protocol):
    """Where the keys of an installation are."""

    @property
    def where(self) -> str:
        """For people: the file or the variable."""

    def read(self, *, make: bool) -> KeyRing:
        """The keys as they are now. `make`: no database uses a key yet, so that a missing one is made.

        Raises SecretsKeyUnusable, SecretsKeyMissing.
        """


class SecretKeys:
    """The keys of one process. Without a source, no secret can be written or read."""

    def __init__(self, source: KeySource | None = None) -> None:
        self._source, self._ring = source, KeyRing(())

    async def prepare(self, connection: AsyncConnection, *, make: bool) -> None:
        """Have all keys that the database uses; with `make`, before migrations, a first one where it uses none.

        Raises SecretsKeyMissing where secrets of this database could not be read, SecretsKeyUnusable.
        """
        if self._source is None:
            return
        used = await used_keys(connection)
        self._ring = self._source.read(make=make and not used)
        if missing := used - set(self._ring.ids):
            raise SecretsKeyMissing(_without(self._source.where, missing))

    async def register(self, connection: AsyncConnection) -> None:
        """After migrations: the newest key is in force where none is yet."""
        if self._source is not None and (await connection.execute(IN_FORCE)).scalar() is None:
            row = {"id": self._ring.newest.id, "created_at": DatabaseNow(), "in_force": True}
            await connection.execute(insert(secret_keys).values(row))

    @property
    def ring(self) -> KeyRing:
        """The keys as they were read last."""
        return self._ring

    async def seal(self, connection: AsyncConnection, text: str, place: Place) -> Sealed:
        """Encrypt with the key in force, in the transaction that writes the secret. Raises SecretsKeyMissing."""
        for _ in range(2):
            # A rotation that commits while this one waits leaves nothing to this statement, and its key to the next.
            if (key_id := (await connection.execute(_IN_FORCE_UNTIL_COMMIT)).scalar()) is not None:
                break
        else:
            raise SecretsKeyMissing("no key of secrets is in force: the database was opened without keys")
        return self._having(key_id).seal(text, place, key_id)

    def open(self, sealed: Sealed, place: Place) -> str:
        """Decrypt. Raises SecretsKeyMissing, SecretDamaged."""
        return self._having(sealed.key_id).open(sealed, place)

    def rewrap(self, sealed: Sealed, place: Place, key_id: str) -> Sealed:
        """The same secret under the key `key_id`. Raises SecretsKeyMissing, SecretDamaged."""
        self._having(key_id)
        return self._having(sealed.key_id).rewrap(sealed, place, key_id)

    def _having(self, key_id: str) -> KeyRing:
        """The keys, read again where `key_id` is not among them; which then may still lack it."""
        if key_id and key_id not in self._ring.ids and self._source is not None:
            try:
                self._ring = self._source.read(make=False)
            except SecretsKeyUnusable as error:
                raise SecretsKeyMissing(
                    f"the key {key_id} of the database's secrets cannot be read", operator_detail=error.message
                ) from error
        return self._ring


async def used_keys(connection: AsyncConnection) -> set[str]:
    """The ids of the keys that secrets of the database may have; none before its migration."""
    if not await connection.run_sync(lambda plain: inspect(plain).has_table(secret_keys.name)):
        return set()
    return set((await connection.execute(select(secret_keys.c.id))).scalars())


def _without(where: str, missing: set[str]) -> str:
    return (
        f"{where} lacks the key {', '.join(sorted(missing))}, which encrypts secrets of this database: put the copy of "
        "the key there. Without the key, the kubeconfigs and SSH keys of clusters and templates and the secrets of "
        "webhooks are lost for good: `dayfly secrets abandon` deletes those clusters, templates and webhooks"
    )
