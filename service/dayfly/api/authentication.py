"""Who the caller of a request is: by a bearer token, by the peer of a unix socket, or by a setting.

Not here: the kinds of bearer tokens (each is an Authenticator), and what a principal may do (operations.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from dayfly.addresses import is_loopback
from dayfly.domain.security.principal import DEFAULT_TEAM, Principal, Role
from dayfly.errors import Unauthenticated

PEER_UID: Final = "dayfly.peer_uid"
"""Key in a request's `state`: the user at the other end of a unix socket (connections.py)."""
RECHECK: Final = "dayfly.recheck"
"""Key in a request's `state`: proves the principal again, for a response that is held; raises Unauthenticated."""
MAX_BEARER: Final = 8192
"""Characters of a bearer token."""
LOOPBACK: Final = Principal("loopback", DEFAULT_TEAM, Role.OPERATOR)
"""The callers of this host, where `loopback_is_operator`."""

_PROXIED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Headers by which a proxy says that it passes on another caller's request."""


class Authenticator(Protocol):
    """One kind of bearer token."""

    async def authenticate(self, bearer: str) -> Principal | None:
        """The principal of the token; None: the token is of another kind.

        Raises Unauthenticated for a token of this kind that is not valid, without saying more than its holder knows;
        Forbidden for a valid one without a team here, InfrastructureError where that cannot be found out.
        Called for each request, and repeatedly while a response is held.
        """
        ...


Recheck = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Authentication:
    """How callers prove who they are. `authenticators` are asked in their order.

    `own_uid`: the server's user, who is an operator on a unix socket, as root is. `loopback_is_operator`: a request
    from loopback without a token, and not passed on by a proxy, is an operator's.
    """

    authenticators: Sequence[Authenticator] = ()
    own_uid: int | None = None
    loopback_is_operator: bool = False

    async def identify(self, scope: Scope) -> None:
        """Put the request's principal into its state (principals.py). Raises Unauthenticated, DatabaseUnavailable."""
        state = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        given = headers.getlist("authorization")
        if given:
            bearer = _bearer_of(given)
            state["principal"] = await self._of_bearer(bearer)
            state[RECHECK] = partial(self._of_bearer, bearer)
            return
        principal = self._of_peer(scope, headers)
        if principal is None:
            raise Unauthenticated("this server requires a token: send `Authorization: Bearer TOKEN` (dayfly login)")
        state["principal"] = principal

    async def _of_bearer(self, bearer: str) -> Principal:
        for authenticator in self.authenticators:
            if (principal := await authenticator.authenticate(bearer)) is not None:
                return principal
        raise Unauthenticated("the token is not valid")

    def _of_peer(self, scope: Scope, headers: Headers) -> Principal | None:
        uid = scope["state"].get(PEER_UID)
        if uid is not None:
            return Principal(f"uid:{uid}", DEFAULT_TEAM, Role.OPERATOR) if uid in {0, self.own_uid} else None
        client = scope.get("client")
        if not self.loopback_is_operator or client is None or not is_loopback(client[0]):
            return None
        return None if any(name in headers for name in _PROXIED) else LOOPBACK


def _bearer_of(headers: Sequence[str]) -> str:
    scheme, _, token = headers[0].partition(" ")
    token = token.strip()
    if len(headers) != 1 or scheme.lower() != "bearer" or not token or len(token) > MAX_BEARER:
        raise Unauthenticated("the header Authorization is not `Bearer TOKEN`")
    return token
