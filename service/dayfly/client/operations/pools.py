"""Requests about pools, as values."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from dayfly.client.models import Orphan, OrphanList
from dayfly.client.operations.call import Call, model
from dayfly.client.pool_models import Pool, PoolList
from dayfly.client.request_models import PoolChanges, PoolRequest

_REMOVAL_SECONDS: Final = 600.0
"""The engine removes one orphan after the other."""


def create_pool(request: PoolRequest) -> Call[Pool]:
    return Call("POST", "/v1/pools", model(Pool), json=request.body())


def pools() -> Call[tuple[Pool, ...]]:
    parse = model(PoolList)
    return Call("GET", "/v1/pools", lambda response: parse(response).pools)


def pool(name: str) -> Call[Pool]:
    return Call("GET", f"/v1/pools/{quote(name, safe='')}", model(Pool))


def change_pool(name: str, changes: PoolChanges) -> Call[Pool]:
    return Call("PATCH", f"/v1/pools/{quote(name, safe='')}", model(Pool), json=changes.body())


def delete_pool(name: str) -> Call[Pool]:
    return Call("DELETE", f"/v1/pools/{quote(name, safe='')}", model(Pool))


def orphans() -> Call[tuple[Orphan, ...]]:
    parse = model(OrphanList)
    return Call("GET", "/v1/orphans", lambda response: parse(response).orphans)


def remove_orphans() -> Call[tuple[Orphan, ...]]:
    parse = model(OrphanList)
    return Call("DELETE", "/v1/orphans", lambda response: parse(response).orphans, hold_seconds=_REMOVAL_SECONDS)
