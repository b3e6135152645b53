"""The keys of one issuer, cached: fetched again when they are old, and when a token names an unknown key.

A caller cannot make Dayfly ask an issuer often: one fetch runs at a time, and there is a pause after each. Not here:
the fetch itself (issuer_documents.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from dayfly.clock import Clock
from dayfly.domain.security.oidc import Issuer
from dayfly.errors import IssuerUnavailable, TokenRefused
from dayfly.oidc.issuer_documents import JsonKey

FRESH_SECONDS: Final = 600.0
"""Older keys are fetched again before they are used."""
USABLE_SECONDS: Final = 3600.0
"""While the issuer does not answer, its last keys are used for so long."""
PAUSE_SECONDS: Final = 30.0
"""From a fetch to the next one that an unknown key causes."""
RETRY_SECONDS: Final = 5.0
"""From a fetch that failed to the next one."""
_MIN_RSA_BITS: Final = 2048
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The type of key by the first letters of an algorithm."""

Fetch = Callable[[Issuer], Awaitable[Sequence[JsonKey]]]
"""Raises IssuerUnavailable."""

_log = structlog.get_logger(__name__)


class IssuerKeys:
    def __init__(self, issuer: Issuer, clock: Clock, fetch: Fetch) -> None:
        self._issuer, self._clock, self._fetch = issuer, clock, fetch
        self._published: Sequence[JsonKey] | None = None
        self._made: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._failure: str | None = None
        """Why the last fetch failed."""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """The key with this id for an algorithm. Raises IssuerUnavailable, TokenRefused.

        Without an id: the only key for the algorithm, if there is just one.
        """
        if self._age > FRESH_SECONDS:
            # While the issuer does not answer, tokens do not wait for it: the last keys serve.
            await self._fetch_again(RETRY_SECONDS, wait=self._failure is None or self._age > USABLE_SECONDS)
        if self._published is None or self._age > USABLE_SECONDS:
            raise self._unavailable()
        if (key := self._key(key_id, algorithm)) is None:
            await self._fetch_again(PAUSE_SECONDS if self._failure is None else RETRY_SECONDS)
            key = self._key(key_id, algorithm)
        if key is None and self._failure is not None:
            raise self._unavailable()  # the issuer may have the key by now
        if key is None:
            raise TokenRefused(f"the token is signed with a key that the issuer {self._issuer.name} does not publish")
        return key

    def _unavailable(self) -> IssuerUnavailable:
        message = f"the keys of the issuer {self._issuer.name} cannot be fetched"
        return IssuerUnavailable(message, operator_detail=self._failure or "no fetch has ended yet")

    @property
    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    async def _fetch_again(self, pause: float, *, wait: bool = True) -> None:
        """Fetch the keys, unless the last fetch ended less than `pause` ago. With `wait`, return after the fetch."""
        if self._fetching is None:
            if self._clock.monotonic() - self._tried_at < pause:
                return
            # A task of its own: a caller that leaves does not end what others wait for.
            self._fetching = asyncio.create_task(self._update())
        if wait:
            await asyncio.shield(self._fetching)

    async def _update(self) -> None:
        try:
            published = await self._fetch(self._issuer)
        except IssuerUnavailable as error:
            self._failure = error.operator_detail
            _log.warning("the keys of an OIDC issuer could not be fetched", reason=error.for_operator)
        else:
            self._published, self._made, self._failure = published, {}, None
            self._fetched_at = self._clock.monotonic()
        finally:
            self._fetching, self._tried_at = None, self._clock.monotonic()

    def _key(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        wanted = (key_id, algorithm)
        if wanted not in self._made:
            fitting = [key for key in self._published or () if _is_for(key, key_id, algorithm)]
            made = [key for one in fitting if (key := self._make(one, algorithm)) is not None]
            # Two keys with one id: nothing says which one is meant.
            if len(made) != 1:
                return None
            self._made[wanted] = made[0]
        return self._made[wanted]

    def _make(self, published: JsonKey, algorithm: str) -> jwt.PyJWK | None:
        try:
            key = jwt.PyJWK(dict(published), algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            _log.warning(
                "a key of an OIDC issuer cannot be used", issuer=self._issuer.name, reason=type(error).__name__
            )
            return None
        if isinstance(key.key, RSAPublicKey) and key.key.key_size < _MIN_RSA_BITS:
            _log.warning("a key of an OIDC issuer is too short", issuer=self._issuer.name, bits=key.key.key_size)
            return None
        return key


def _is_for(key: JsonKey, key_id: str | None, algorithm: str) -> bool:
    """Whether `key` is a public key for signatures with `algorithm`, and has the id, if there is one."""
    return (
        (key_id is None or key.get("kid") == key_id)
        and key.get("kty") == _KEY_TYPES[algorithm[:2]]
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and "d" not in key
    )
