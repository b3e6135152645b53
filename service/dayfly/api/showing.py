"""One cluster with all that belongs to it, read and rendered: what most routes answer with."""

from __future__ import annotations

from dayfly.api.queue import NOWHERE, places
from dayfly.api.rendering import show_cluster
from dayfly.api.representations import Cluster
from dayfly.api.services import ApiServices
from dayfly.domain.cluster import model as domain


async def show(cluster: domain.Cluster, services: ApiServices) -> Cluster:
    """The cluster with its steps, the names of its evidence, and its place in the queue."""
    steps = await services.store.steps(cluster.id)
    evidence = await services.store.evidence(cluster.id) if cluster.fault else {}
    place = (await places([cluster], services)).get(cluster.id, NOWHERE)
    return show_cluster(cluster, steps, evidence.keys(), services.clock.now(), place)
