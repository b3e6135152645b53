"""Idempotency keys of POSTs: the header, the fingerprint of a body, and the answer to a repeated request.

Not here: records of keys (store/idempotency_keys.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

from fastapi import Header, Response

from dayfly.api.authentication import LOOPBACK
from dayfly.api.dependencies import ApiServices
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.security.principal import Principal
from dayfly.errors import NotFound
from dayfly.schemas.base import RequestModel
from dayfly.store import CarriedOut, IdempotencyKey

T = TypeVar("T")

REPLAYED: Final = "Idempotency-Replayed"
"""The header of the response to a repeated request."""

ADDED_FIELDS: Final[tuple[str, ...]] = ("isolation", "idle_seconds", "ports", "addons", "conformance")
"""Fields newer than idempotency keys: a fingerprint omits them at their default, as older releases did."""

_KEY: Final = r"^[\x21-\x7e]+$"

KeyHeader = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=_KEY,
        description="A repeated request of the same caller with the same key, owner and body is not carried out "
        "again: the response shows the present state of what the first created or changed, and has the header "
        "`Idempotency-Replayed`. The same key and owner with another body or path is rejected "
        "(idempotency_key_reused). The owner is that of the body, or of the path's cluster.",
    ),
]


RepeatableKeyHeader = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=_KEY,
        description="Accepted as for other requests, and of no effect: the request may be repeated.",
    ),
]


def key_of(
    header: str | None, body: RequestModel | str, caller: Principal, owner: str | None = None
) -> IdempotencyKey | None:
    """The key of a request, of the caller alone. `owner`: of what the request creates; None: the caller's team.

    The store knows the owner of a request about a cluster. `body`: of a request without a body, the name of its
    operation.
    """
    if not header:
        return None
    # Keys of releases without authentication stay those of callers of this host.
    text = header if caller == LOOPBACK else f"{caller.name} {header}"
    return IdempotencyKey(text, _fingerprint(body), caller.team if owner is None else owner)


async def once(
    response: Response,
    services: ApiServices,
    key: IdempotencyKey | None,
    send: Callable[[IdempotencyKey | None], Awaitable[Cluster]],
) -> Cluster:
    """The cluster after a request about it; the present cluster if an earlier request with the key was carried out."""
    try:
        return await send(key)
    except CarriedOut as first:
        return await replayed(response, services.store.clusters.get(str(first.use.cluster_id)))


async def replayed(response: Response, resource: Awaitable[T]) -> T:
    """What an earlier request created or changed, and the header that says so. Raises NotFound if it is deleted."""
    response.headers[REPLAYED] = "true"
    try:
        return await resource
    except NotFound as error:
        sentence = "the first request with this idempotency key was carried out, and what it created is deleted"
        raise NotFound(f"{sentence}: use a new key") from error


def _fingerprint(body: RequestModel | str) -> str:
    """A hash of the canonical request: independent of notation, equal to that of releases without ADDED_FIELDS.

    Requests of two kinds have different fields, so their hashes differ.
    """
    if isinstance(body, str):
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()
    fields = type(body).model_fields
    added = {name for name in ADDED_FIELDS if name in fields and getattr(body, name) == fields[name].default}
    canonical = json.dumps(body.model_dump(mode="json", exclude=added), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
