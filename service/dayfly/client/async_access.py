"""Requests of the asynchronous client about teams, tokens and the caller itself."""

from __future__ import annotations

from dayfly.client.async_connection import AsyncConnection
from dayfly.client.options import given
from dayfly.client.transport import path_of
from dayfly.schemas.access import NewToken, Team, TeamList, Token, TokenList, Whoami


class AsyncAccess(AsyncConnection):
    """Who may use the service."""

    async def whoami(self) -> Whoami:
        """Who the server takes the caller for."""
        return await self._read(Whoami, "GET", "/v1/whoami")

    async def create_token(
        self,
        name: str,
        *,
        kind: str | None = None,
        role: str | None = None,
        team: str | None = None,
        description: str | None = None,
        expires_in_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> NewToken:
        """Create a token. The result has its text, which the server does not keep."""
        fields = {"kind": kind, "role": role, "team": team, "description": description}
        body = given({"name": name, **fields, "expires_in_seconds": expires_in_seconds})
        return await self._read(NewToken, "POST", "/v1/tokens", json=body, key=idempotency_key)

    async def tokens(self, *, team: str | None = None) -> tuple[Token, ...]:
        """Tokens of `team` (None: of all that the caller may see), newest first."""
        return (await self._read(TokenList, "GET", "/v1/tokens", query={"team": team})).tokens

    async def token(self, token_id: str) -> Token:
        """One token, without its secret."""
        return await self._read(Token, "GET", path_of("tokens", token_id), of=token_id)

    async def revoke_token(self, token_id: str) -> Token:
        """Revoke a token, at once."""
        return await self._read(Token, "DELETE", path_of("tokens", token_id), of=token_id)

    async def create_team(
        self, name: str, *, description: str | None = None, idempotency_key: str | None = None
    ) -> Team:
        """Create a team."""
        body = given({"name": name, "description": description})
        return await self._read(Team, "POST", "/v1/teams", json=body, key=idempotency_key, of=name)

    async def teams(self) -> tuple[Team, ...]:
        """All teams, by name."""
        return (await self._read(TeamList, "GET", "/v1/teams")).teams

    async def team(self, name: str) -> Team:
        """One team, by its name or id."""
        return await self._read(Team, "GET", path_of("teams", name), of=name)

    async def change_team(self, name: str, *, description: str) -> Team:
        """Change a team's description."""
        return await self._read(Team, "PATCH", path_of("teams", name), json={"description": description}, of=name)

    async def delete_team(self, name: str) -> Team:
        """Delete a team that has nothing any more, with its tokens."""
        return await self._read(Team, "DELETE", path_of("teams", name), of=name)
