"""Reads a cluster with its steps and queue position, and renders it: the response of most routes."""

from __future__ import annotations

from functools import partial

from fastapi import Request

from dayfly.api.clusters.presenter import show_cluster
from dayfly.api.clusters.queue_position import queue_positions
from dayfly.api.dependencies import ApiServices
from dayfly.api.long_poll import hold
from dayfly.api.queue_cache import NOT_QUEUED
from dayfly.domain.cluster import model as domain
from dayfly.schemas.clusters import Cluster, wait_is_over
from dayfly.vocabulary import WaitFor


async def show(cluster: domain.Cluster, services: ApiServices) -> Cluster:
    """The cluster with its steps, the names of its evidence, and its queue position."""
    steps = await services.store.clusters.steps(cluster.id)
    evidence = await services.store.clusters.evidence(cluster.id) if cluster.fault else {}
    place = (await queue_positions([cluster], services)).get(cluster.id, NOT_QUEUED)
    return show_cluster(cluster, steps, evidence.keys(), services.clock.now(), place)


async def show_after(
    request: Request, services: ApiServices, cluster: domain.Cluster, wait: WaitFor | None, timeout_seconds: float
) -> Cluster:
    """As show(), of what awaited() returns."""
    return await show(await awaited(request, services, cluster, wait, timeout_seconds), services)


async def awaited(
    request: Request, services: ApiServices, cluster: domain.Cluster, wait: WaitFor | None, timeout_seconds: float
) -> domain.Cluster:
    """The cluster; with a `wait`, once it is met, can no longer be met, or timed out."""
    if wait is None:
        return cluster
    look = partial(services.store.clusters.get, cluster.id)
    is_over = partial(wait_is_over, wanted=wait)
    return await hold(request, services, cluster.id, look, is_over, timeout_seconds)
