# Generated from async_access.py by `python -m tests.support.unasync`: do not edit.
"""Requests of the synchronous client about teams, tokens and the caller itself."""

from __future__ import annotations

from dayfly.client.options import given
from dayfly.client.sync_connection import Connection
from dayfly.client.transport import path_of
from dayfly.schemas.access import NewToken, Team, TeamList, Token, TokenList, Whoami


class Access(Connection):
    """Who may use the service."""

    def whoami(self) -> Whoami:
        """Who the server takes the caller for."""
        return self._read(Whoami, "GET", "/v1/whoami")

    def create_token(
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
        return self._read(NewToken, "POST", "/v1/tokens", json=body, key=idempotency_key)

    def tokens(self, *, team: str | None = None) -> tuple[Token, ...]:
        """Tokens of `team` (None: of all that the caller may see), newest first."""
        return (self._read(TokenList, "GET", "/v1/tokens", query={"team": team})).tokens

    def token(self, token_id: str) -> Token:
        """One token, without its secret."""
        return self._read(Token, "GET", path_of("tokens", token_id), of=token_id)

    def revoke_token(self, token_id: str) -> Token:
        """Revoke a token, at once."""
        return self._read(Token, "DELETE", path_of("tokens", token_id), of=token_id)

    def create_team(self, name: str, *, description: str | None = None, idempotency_key: str | None = None) -> Team:
        """Create a team."""
        body = given({"name": name, "description": description})
        return self._read(Team, "POST", "/v1/teams", json=body, key=idempotency_key, of=name)

    def teams(self) -> tuple[Team, ...]:
        """All teams, by name."""
        return (self._read(TeamList, "GET", "/v1/teams")).teams

    def team(self, name: str) -> Team:
        """One team, by its name or id."""
        return self._read(Team, "GET", path_of("teams", name), of=name)

    def change_team(self, name: str, *, description: str) -> Team:
        """Change a team's description."""
        return self._read(Team, "PATCH", path_of("teams", name), json={"description": description}, of=name)

    def delete_team(self, name: str) -> Team:
        """Delete a team that has nothing any more, with its tokens."""
        return self._read(Team, "DELETE", path_of("teams", name), of=name)
