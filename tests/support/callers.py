"""Callers of a service that requires authentication: a team with as many tokens, written directly to its database."""

from __future__ import annotations

from collections.abc import Iterable

from dayfly.domain.security.principal import Role
from dayfly.store import NewToken, Store
from dayfly.vocabulary import TokenKind


async def new_callers(database_url: str, team: str, roles: Iterable[Role]) -> list[dict[str, str]]:
    """The header of each caller's requests: with a new token of a new team, of each role."""
    store = await Store.open(database_url)
    try:
        await store.teams.create(team, "")
        new = [NewToken(team, "caller", TokenKind.SERVICE, role, "", "token:test") for role in roles]
        texts = [(await store.tokens.create(one))[1] for one in new]
    finally:
        await store.close()
    return [{"Authorization": f"Bearer {text}"} for text in texts]
