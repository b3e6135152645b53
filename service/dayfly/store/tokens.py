"""API tokens: created, found, listed, used and revoked. Only hashes of their secrets are kept.

Not here: whether a token proves its holder (api/token_authentication.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, or_, select, update

from dayfly.domain.security.principal import DEFAULT_TEAM, EVERYWHERE, Role, Scope
from dayfly.domain.security.token import Token, new_secret, token_hash, token_text
from dayfly.errors import NotFound
from dayfly.store.commands import IdempotencyKey
from dayfly.store.create_locks import lock_operators
from dayfly.store.db import ids
from dayfly.store.db.access_tables import OPERATORS, teams, tokens
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.shared_queries import in_scope
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import TOKENS
from dayfly.vocabulary import TokenKind

INSTALLATION: Final = "installation"
"""The creator of the operator's first token, and of those that replace it."""
USE_SECONDS: Final = 60.0
"""The last use of a token is written at most once in so many seconds."""
_NEWEST_FIRST: Final = (tokens.c.created_at.desc(), tokens.c.id.desc())


@dataclass(frozen=True)
class NewToken:
    """A request for a token. `expires_in_seconds`: None: the token does not expire."""

    team: str
    name: str
    kind: TokenKind
    role: Role
    description: str
    created_by: str
    expires_in_seconds: int | None = None


_FIRST: Final = NewToken(
    DEFAULT_TEAM, "operator", TokenKind.PERSON, Role.OPERATOR, "The operator's first token.", INSTALLATION
)


class Tokens(StorePart):
    async def create(self, new: NewToken, key: IdempotencyKey | None = None) -> tuple[Token, str]:
        """The token, and its text, which is kept nowhere.

        Raises NotFound (of the team), CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            # Locked against its deletion until the token is there.
            team = select(teams.c.id).where(teams.c.name == new.team).with_for_update(key_share=True)
            if (await transaction.execute(team)).first() is None:
                raise NotFound(f"no team {new.team}")
            made, text = await _insert(transaction, new)
            transaction.concerns("token", made.id, made.name)
            await record_use(transaction, key, resource_id=made.id)
            return made, text

    async def create_first(self, show: Callable[[str], None]) -> Token | None:
        """The operator's first token; None: an operator's token exists, or existed.

        `show` gets its text before the commit: there is no token that it could not show.
        """
        async with self._database.write() as transaction:
            await lock_operators(transaction)
            if (await transaction.execute(select(tokens.c.id).where(OPERATORS).limit(1))).first():
                return None
            made, text = await _insert(transaction, _FIRST)
            show(text)
            return made

    async def replace_first(self) -> tuple[Token, str]:
        """Revoke the operator's first token, and those that replaced it; a new one."""
        async with self._database.write() as transaction:
            await lock_operators(transaction)
            ours = (OPERATORS, tokens.c.created_by == INSTALLATION, tokens.c.revoked_at.is_(None))
            await transaction.execute(update(tokens).where(*ours).values(revoked_at=transaction.now))
            transaction.wake(TOKENS)
            return await _insert(transaction, _FIRST)

    async def find(self, token_id: str) -> tuple[Token, str] | None:
        """The token with the hash of its text."""
        row = await self._row(select(tokens).where(tokens.c.id == token_id))
        return None if row is None else (_token_from(row), row.hash)

    async def list(self, *, scope: Scope = EVERYWHERE, team: str | None = None) -> tuple[Token, ...]:
        """Those in `scope` and of `team` (None: of all), newest first, expired and revoked ones included."""
        query = select(tokens).where(*in_scope(tokens.c.team, scope)).order_by(*_NEWEST_FIRST)
        if team is not None:
            query = query.where(tokens.c.team == team)
        return tuple(map(_token_from, await self._rows(query)))

    async def get(self, token_id: str, scope: Scope = EVERYWHERE) -> Token:
        """Raises NotFound."""
        row = await self._row(select(tokens).where(tokens.c.id == token_id, *in_scope(tokens.c.team, scope)))
        if row is None:
            raise _not_found(token_id)
        return _token_from(row)

    async def revoke(self, token_id: str, scope: Scope = EVERYWHERE) -> Token:
        """Let the token prove nothing from now on. May be repeated. Raises NotFound."""
        async with self._database.write(caller_waits=True) as transaction:
            which = (tokens.c.id == token_id, *in_scope(tokens.c.team, scope))
            row = (await transaction.execute(select(tokens).where(*which).with_for_update())).one_or_none()
            if row is None:
                raise _not_found(token_id)
            transaction.concerns("token", token_id, row.name)
            if row.revoked_at is not None:
                return _token_from(row)
            transaction.wake(TOKENS)
            revoked = update(tokens).where(*which).values(revoked_at=transaction.now).returning(tokens)
            return _token_from((await transaction.execute(revoked)).one())

    async def record_use(self, token_id: str) -> None:
        """Write the time of the last use, unless a process has done so in the last USE_SECONDS."""
        async with self._database.write() as transaction:
            used = tokens.c.last_used_at
            due = or_(used.is_(None), used <= transaction.now - timedelta(seconds=USE_SECONDS))
            values = {"last_used_at": transaction.now}
            await transaction.execute(update(tokens).where(tokens.c.id == token_id, due).values(values))


async def _insert(transaction: Transaction, new: NewToken) -> tuple[Token, str]:
    token_id = ids.new_id()
    text = token_text(token_id, new_secret())
    expires = None if new.expires_in_seconds is None else transaction.now + timedelta(seconds=new.expires_in_seconds)
    columns: Mapping[str, object] = {
        "id": token_id,
        **{name: value for name, value in vars(new).items() if name in tokens.c},
        "created_at": transaction.now,
        "expires_at": expires,
        "hash": token_hash(text),
    }
    row = (await transaction.execute(insert(tokens).values(columns).returning(tokens))).one()
    return _token_from(row), text


def _token_from(row: Row[Any]) -> Token:
    columns = row._asdict()
    del columns["hash"]
    return Token(**columns | {"kind": TokenKind(row.kind), "role": Role(row.role)})


def _not_found(token_id: str) -> NotFound:
    return NotFound(f"no token {token_id}")
