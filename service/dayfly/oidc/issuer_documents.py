"""What an OIDC issuer publishes: its discovery document, and the keys that it signs with (JWKS), over HTTPS.

Answers are bounded in time and size, and redirects are not followed. Not here: how long keys are used (issuer_keys.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import httpx

from dayfly.addresses import is_loopback, is_private_url
from dayfly.domain.security.oidc import Issuer
from dayfly.errors import IssuerUnavailable

MAX_BYTES: Final = 512 << 10
"""Of one answer. The keys of large public issuers take 10 KiB."""
MAX_KEYS: Final = 100
SECONDS: Final = 5.0
"""For both answers together."""
DISCOVERY: Final = "/.well-known/openid-configuration"

JsonKey = Mapping[str, Any]


async def fetch_keys(issuer: Issuer, *, seconds: float = SECONDS) -> Sequence[JsonKey]:
    """The issuer's keys as it publishes them, of any kind. Raises IssuerUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            # OpenSSL reads the authorities from files.
            trusted = await asyncio.to_thread(_trusted, issuer)
            async with httpx.AsyncClient(
                verify=trusted,
                follow_redirects=False,
                timeout=seconds,
                # A proxy of the environment is not the way to this machine itself.
                trust_env=not is_loopback(httpx.URL(issuer.url).host),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            ) as http:
                discovery = await _read(http, issuer, issuer.url.rstrip("/") + DISCOVERY)
                return _keys(issuer, await _read(http, issuer, _keys_url(issuer, discovery)))
    except TimeoutError as error:
        raise _unavailable(issuer, f"no whole answer from {issuer.url} within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unavailable(issuer, f"{issuer.url}: {error or type(error).__name__}") from error
    except OSError as error:
        raise _unavailable(issuer, f"the certificate authorities for {issuer.url}: {error}") from error


def _trusted(issuer: Issuer) -> ssl.SSLContext:
    return _trusted_elsewhere() if issuer.ca_file is None else ssl.create_default_context(cafile=str(issuer.ca_file))


@cache
def _trusted_elsewhere() -> ssl.SSLContext:
    """Reading more than a hundred authorities takes longer than all the rest."""
    return httpx.create_ssl_context()


async def _read(http: httpx.AsyncClient, issuer: Issuer, url: str) -> Mapping[str, Any]:
    content = bytearray()
    async with http.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise _unavailable(issuer, f"{url} was answered with status {answer.status_code}")
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MAX_BYTES:
                raise _unavailable(issuer, f"the answer of {url} has more than {MAX_BYTES >> 10} KiB")
    try:
        read = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unavailable(issuer, f"the answer of {url} is not JSON") from error
    if not isinstance(read, dict):
        raise _unavailable(issuer, f"the answer of {url} is no JSON object")
    return read


def _keys_url(issuer: Issuer, discovery: Mapping[str, Any]) -> str:
    named, url = discovery.get("issuer"), discovery.get("jwks_uri")
    if named != issuer.url:
        raise _unavailable(issuer, f"the discovery document of {issuer.url} is of another issuer: {named!r}")
    if not isinstance(url, str) or not is_private_url(url, loopback_http=issuer.allow_http):
        raise _unavailable(issuer, f"the discovery document of {issuer.url} has no usable jwks_uri: {url!r}")
    return url


def _keys(issuer: Issuer, answer: Mapping[str, Any]) -> Sequence[JsonKey]:
    keys = answer.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise _unavailable(issuer, f"the keys of {issuer.url} are no list of at most {MAX_KEYS}")
    return [key for key in keys if isinstance(key, dict)]


def _unavailable(issuer: Issuer, detail: str) -> IssuerUnavailable:
    return IssuerUnavailable(f"the issuer {issuer.name} cannot be asked for its keys", operator_detail=detail)
