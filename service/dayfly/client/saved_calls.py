"""Calls that reset, hibernate and resume clusters, and those about checkpoints, templates, pools and orphans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from dayfly.client.calls import Call, Flow, model, path_of, wait_until
from dayfly.client.errors import ClusterFailed
from dayfly.client.models import Cluster, Orphan, OrphanList
from dayfly.client.saved_models import Checkpoint, CheckpointList, Pool, PoolList, Template, TemplateList
from dayfly.client.wishes import PoolChanges, PoolWish, ShapeWish

_REMOVAL_SECONDS: Final = 600.0
"""The engine removes one orphan after the other."""


def reset(cluster: str, checkpoint: str | None) -> Call[Cluster]:
    to: Mapping[str, object] = {"to": "pristine" if checkpoint is None else {"checkpoint": checkpoint}}
    return Call("POST", path_of(cluster, "reset"), model(Cluster), json=to)


def hibernate(cluster: str) -> Call[Cluster]:
    return Call("POST", path_of(cluster, "hibernate"), model(Cluster))


def resume(cluster: str) -> Call[Cluster]:
    return Call("POST", path_of(cluster, "resume"), model(Cluster))


def wait_hibernated(cluster: str, timeout_seconds: float) -> Flow[Cluster]:
    """Until it is hibernated. Raises ClusterFailed, WaitTimeout."""
    seen = yield from wait_until(cluster, "hibernated", timeout_seconds)
    if seen.phase != "hibernated" or seen.desired != "hibernated":
        raise ClusterFailed(seen)
    return seen


def create_checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("POST", path_of(cluster, "checkpoints"), model(Checkpoint), json={"name": name})


def checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("GET", path_of(cluster, "checkpoints", name), model(Checkpoint))


def checkpoints(cluster: str) -> Call[tuple[Checkpoint, ...]]:
    parse = model(CheckpointList)
    return Call("GET", path_of(cluster, "checkpoints"), lambda response: parse(response).checkpoints)


def delete_checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("DELETE", path_of(cluster, "checkpoints", name), model(Checkpoint))


def create_template(wish: ShapeWish) -> Call[Template]:
    return Call("POST", "/v1/templates", model(Template), json=wish.body())


def templates(owner: str | None, *, gone: bool) -> Call[tuple[Template, ...]]:
    parse = model(TemplateList)
    return Call("GET", "/v1/templates", lambda r: parse(r).templates, {"owner": owner, "gone": gone})


def template(template_id: str) -> Call[Template]:
    return Call("GET", f"/v1/templates/{quote(template_id, safe='')}", model(Template))


def delete_template(template_id: str) -> Call[Template]:
    return Call("DELETE", f"/v1/templates/{quote(template_id, safe='')}", model(Template))


def create_pool(wish: PoolWish) -> Call[Pool]:
    return Call("POST", "/v1/pools", model(Pool), json=wish.body())


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
