"""/v1/tokens: API tokens of service accounts and people. Not here: their verification (token_authentication.py)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from dayfly.api.dependencies import Services
from dayfly.api.idempotency import KeyHeader, key_of
from dayfly.api.principals import Caller
from dayfly.domain.security.principal import UNBOUNDED, Role
from dayfly.errors import Conflict, Forbidden, InvalidRequest, NotFound, OverBounds
from dayfly.schemas.access import NewToken, Token, TokenList, TokenRequest
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.store import CarriedOut
from dayfly.store import NewToken as StoredRequest

router: Final = APIRouter(prefix="/v1/tokens", tags=["access control"])
_ID: Final = re.compile(r"[a-z0-9]{1,40}")


async def _identifier(token: Annotated[str, Path(description="A token's id.")]) -> str:
    if not _ID.fullmatch(token):
        raise NotFound("no token has this id: it is not a valid id")
    return token


TokenId = Annotated[str, Depends(_identifier)]


@router.post(
    "",
    operation_id="createToken",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "The token's path.", "schema": {"type": "string"}}}},
    },
)
async def create_token(
    wanted: TokenRequest, response: Response, services: Services, caller: Caller, idempotency_key: KeyHeader = None
) -> NewToken:
    """Create a token. The response has its text, which the server does not keep.

    409 for a repeated request with the same idempotency key: the text cannot be shown again. Revoke the token that the
    problem names, and create another with a new key.
    """
    team, role = wanted.team or caller.team, Role(wanted.role)
    if not caller.scope.includes(team):
        raise Forbidden(f"team: yours is {caller.team}; only an operator may name another")
    if not caller.role.includes(role):
        raise Forbidden(f"role: yours is {caller.role}, and a token of yours cannot have the role {role}")
    if caller.bounds != UNBOUNDED:
        raise OverBounds("your token has bounds, and the new one would have none")
    new = StoredRequest(
        team=team,
        name=wanted.name,
        kind=wanted.kind,
        role=role,
        description=wanted.description,
        created_by=caller.name,
        expires_in_seconds=wanted.expires_in_seconds,
    )
    try:
        made, text = await services.store.tokens.create(new, key_of(idempotency_key, wanted, caller, team))
    except CarriedOut as first:
        used = first.use.resource_id
        raise Conflict(
            f"the first request with this idempotency key created token {used}, whose text is not shown again: "
            "revoke it, and use a new key"
        ) from first
    except NotFound as error:
        raise InvalidRequest(f"team: there is no team {team}") from error
    response.headers["Location"] = f"/v1/tokens/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewToken.of(made, token=text)


@router.get("", operation_id="listTokens")
async def list_tokens(
    services: Services,
    caller: Caller,
    team: Annotated[str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Only this team's.")] = None,
) -> TokenList:
    """List tokens, newest first, expired and revoked ones included."""
    return TokenList(
        tokens=tuple(map(Token.of, await services.store.tokens.list(scope=caller.scope, team=team))),
    )


@router.get("/{token}", operation_id="getToken")
async def get_token(services: Services, caller: Caller, token: TokenId) -> Token:
    """Get a token, without its secret."""
    return Token.of(await services.store.tokens.get(token, caller.scope))


@router.delete("/{token}", operation_id="revokeToken")
async def revoke_token(services: Services, caller: Caller, token: TokenId) -> Token:
    """Revoke a token, at once: held requests and streams of its holder get nothing more. May be repeated."""
    known = await services.store.tokens.get(token, caller.scope)
    if not caller.role.includes(known.role):
        raise Forbidden(f"role: yours is {caller.role}, and the token has the role {known.role}")
    return Token.of(await services.store.tokens.revoke(token, caller.scope))
