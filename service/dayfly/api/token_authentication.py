"""Authenticates API tokens: verified ones are remembered, so that most requests need no query.

A revocation is seen at once: by this process as it commits, by another one as PostgreSQL notifies it, and while such
notifications cannot arrive nothing is remembered. TRUST_SECONDS bounds what a connection that is silently dead could
hide.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.security.principal import Principal
from dayfly.domain.security.token import PREFIX, Token, is_same_hash, token_hash, token_id_of
from dayfly.errors import InfrastructureError, Unauthenticated
from dayfly.store import Store
from dayfly.store.tokens import USE_SECONDS

TRUST_SECONDS: Final = 5.0
"""A token that was verified so long ago is looked up again."""
MOST: Final = 10_000
"""Remembered tokens."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Verified:
    hash: str
    token: Token
    until: float
    """Clock.monotonic."""


@dataclass
class TokenAuthenticator:
    """The Authenticator of tokens `dfly_<id>_<secret>`."""

    store: Store
    clock: Clock
    _verified: dict[str, _Verified] = field(default_factory=dict)
    """By the token's id."""
    _used: dict[str, float] = field(default_factory=dict)
    """Token's id → when its use was written last (Clock.monotonic)."""
    _revocations: int = 0
    _writing: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._watching = self.store.watch_tokens()
        self._watch = self._watching.__enter__()  # as long as the process lives

    async def authenticate(self, bearer: str) -> Principal | None:
        """As Authenticator.authenticate."""
        if not bearer.startswith(PREFIX):
            return None
        token_id = token_id_of(bearer)
        if token_id is None:
            raise Unauthenticated("the token is not valid")
        self._forget_revoked()
        now, given = self.clock.monotonic(), token_hash(bearer)
        known = self._verified.get(token_id)
        if known is not None and now < known.until and is_same_hash(known.hash, given):
            token = known.token
        else:
            token = await self._look_up(token_id, given, now)
        _require_unexpired(token, self.clock.now())
        self._note_use(token.id, now)
        return token.principal

    async def _look_up(self, token_id: str, given: str, now: float) -> Token:
        heard, revocations = await self._watch.is_heard(), self._revocations
        found = await self.store.tokens.find(token_id)
        if found is None or not is_same_hash(found[1], given):
            raise Unauthenticated("the token is not valid")
        token, kept = found
        # Its holder has the secret, and may know.
        if token.revoked_at is not None:
            raise Unauthenticated("the token is revoked")
        self._forget_revoked()
        # A revocation since the look-up began may have been of this token.
        if heard and revocations == self._revocations:
            if len(self._verified) >= MOST:
                self._verified.clear()
            self._verified[token_id] = _Verified(kept, token, now + TRUST_SECONDS)
        return token

    def _forget_revoked(self) -> None:
        if self._watch.take():
            self._revocations += 1
            self._verified.clear()

    def _note_use(self, token_id: str, now: float) -> None:
        if now - self._used.get(token_id, -USE_SECONDS) < USE_SECONDS:
            return
        if len(self._used) >= MOST:
            self._used.clear()
        self._used[token_id] = now
        # The request does not wait for it.
        task = asyncio.create_task(self._write_use(token_id))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_use(self, token_id: str) -> None:
        try:
            await self.store.tokens.record_use(token_id)
        except InfrastructureError as error:
            _log.warning("the last use of a token was not written", token=token_id, reason=error.for_operator)

    async def settle(self) -> None:
        """Wait until what was noted is written."""
        await asyncio.gather(*self._writing)


def _require_unexpired(token: Token, now: datetime) -> None:
    if token.expires_at is not None and token.expires_at <= now:
        raise Unauthenticated("the token has expired")
