"""Invariants of saved state, and of the service's own clusters, when the service is idle."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import HIBERNATION, TEMPLATE
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.naming import saved_volume, template_volume
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.template import Template
from dayfly.store.db.tables import clusters as table
from dayfly.testing.fakes import FakeContainer
from dayfly.vocabulary import TemplatePhase
from tests.scenarios.matrix.stage import Stage, recorded


async def check_saved(stage: Stage) -> None:
    """Raises AssertionError."""
    assert not stage.machines.torn, f"a memory was loaded that the disk does not go with: {stage.machines.torn}"
    internal = await _internal(stage)
    for cluster in internal:
        _check_internal(stage, cluster)
    waiting = {cluster.id for cluster in internal if cluster.phase is Phase.PENDING}
    templates = await stage.store.templates.list(retired=True)
    for template in templates:
        _check_template(stage, template, waiting)
    await _check_pools(stage, internal, templates)
    for cluster_id in stage.ids:
        await _check_checkpoints(stage, cluster_id)


def check_hibernated(stage: Stage, cluster: Cluster) -> None:
    """Nothing runs, and all that it takes to wake it up is there."""
    nodes = _nodes(stage, cluster)
    gone = cluster.spec.node_count - len(nodes)
    assert not gone or cluster.id in stage.bereft, "machines of a cluster that hibernates are gone"
    assert not any(node.alive for node in nodes), "it hibernates, and something runs"
    saved = stage.engine.volumes[saved_volume(cluster.id)].files
    if cluster.id not in {*stage.bereft, *stage.exits, *stage.went_down}:
        missing = _folders(HIBERNATION.folder, cluster.spec) - saved.keys()
        assert not missing, f"it hibernates without its memory: {missing}"


def check_machines(stage: Stage, cluster: Cluster) -> None:
    """Machines of a ready cluster run; machines of a waiting pool member are paused."""
    wanted = "paused" if cluster.purpose is Purpose.POOL_MEMBER else "running"
    found = {node.spec.name: node.vm_status for node in _nodes(stage, cluster)}
    assert set(found.values()) == {wanted}, f"{cluster.id}, ready: {found}"
    assert cluster.boot_source is None
    assert cluster.reset_to is None
    assert cluster.paused == (cluster.purpose is Purpose.POOL_MEMBER)


async def _internal(stage: Stage) -> list[Cluster]:
    query = select(table.c.id).where(table.c.purpose != Purpose.CLUSTER)
    async with stage.store._database.read() as connection:
        ids = list((await connection.execute(query)).scalars())
    return await recorded(stage.store, ids)


def _check_internal(stage: Stage, cluster: Cluster) -> None:
    if cluster.purpose is Purpose.POOL_MEMBER:
        assert cluster.phase in {Phase.READY, Phase.PENDING, Phase.FAILED, Phase.DELETED}, cluster
        if cluster.phase is Phase.READY and cluster.desired is Desired.PRESENT:
            check_machines(stage, cluster)
    else:
        assert cluster.phase in {Phase.PENDING, Phase.DELETED}, f"a {cluster.purpose} rests in {cluster.phase}"
    if cluster.phase in {Phase.PENDING, Phase.DELETED}:
        assert not _nodes(stage, cluster)


def _check_template(stage: Stage, template: Template, waiting: set[str]) -> None:
    volume = stage.engine.volumes.get(template_volume(template.id))
    match template.phase:
        case TemplatePhase.READY:
            assert volume is not None
            assert _folders(TEMPLATE.folder, template.spec) <= volume.files.keys(), "half a template is offered"
        case TemplatePhase.RETIRING:
            assert template.forks > 0, "nobody uses it any more, and it is still there"
            assert volume is not None
        case TemplatePhase.FAILED | TemplatePhase.RETIRED:
            assert volume is None, f"a {template.phase} template's volume is left"
        case TemplatePhase.BUILDING | TemplatePhase.VERIFYING:
            assert waiting, f"it rests while {template.phase}, and waits for nothing"


async def _check_pools(stage: Stage, internal: list[Cluster], templates: tuple[Template, ...]) -> None:
    members = Counter(
        cluster.pool_id
        for cluster in internal
        if cluster.purpose is Purpose.POOL_MEMBER and cluster.phase is not Phase.DELETED
    )
    for pool in await stage.store.pools.list():
        assert members[pool.id] <= pool.desired_size(stage.clock.now()), "more wait than anybody wants"
        ready = any(
            t.phase is TemplatePhase.READY and t.owner == pool.owner and t.spec.shape == pool.spec.shape
            for t in templates
        )
        if ready:
            assert members[pool.id] == pool.desired_size(stage.clock.now()), "a pool is not filled"


async def _check_checkpoints(stage: Stage, cluster_id: str) -> None:
    cluster = await stage.store.clusters.get(cluster_id)
    found = await stage.store.checkpoints.list(cluster_id)
    if cluster.phase is Phase.DELETED or (cluster.phase is Phase.FAILED and not cluster.reserved):
        assert not found, "checkpoints are listed whose volume is gone"
    if cluster.phase is not Phase.READY:
        return
    files = stage.engine.volumes[saved_volume(cluster_id)].files
    for checkpoint in found:
        assert checkpoint.phase is CheckpointPhase.READY, f"checkpoint {checkpoint.name} rests in {checkpoint.phase}"
        assert _folders(f"/saved/checkpoints/{checkpoint.name}", cluster.spec) <= files.keys(), "half a checkpoint"
    names = {checkpoint.name for checkpoint in found}
    left = {path.split("/")[3] for path in files if path.startswith("/saved/checkpoints/")} - names
    assert not left, f"checkpoints that nobody knows of: {left}"


def _folders(folder: str, spec: ClusterSpec) -> set[str]:
    return {f"{folder}/{node.name}" for node in spec.nodes()}


def _nodes(stage: Stage, cluster: Cluster) -> list[FakeContainer]:
    found = (stage.engine.containers.get(f"dayfly-{cluster.id}-{node.name}") for node in cluster.spec.nodes())
    return [container for container in found if container is not None]
