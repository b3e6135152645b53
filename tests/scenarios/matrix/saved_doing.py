"""Performs the deeds of saved_deeds.py on a stage."""

from __future__ import annotations

from contextlib import suppress

from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.domain.template import template_key
from dayfly.errors import Conflict, NotFound, NotReady
from dayfly.store import UNSET, NewPool, PoolChange
from tests.scenarios.matrix import saved_deeds as deeds
from tests.scenarios.matrix.doing import cluster_of, do
from tests.scenarios.matrix.stage import Stage
from tests.support.specs import make_spec

_ALREADY_OTHERWISE = (Conflict, NotFound, NotReady)
"""The errors of requests that no longer apply: they change nothing."""


@do.register
async def _(deed: deeds.MakeTemplate, stage: Stage) -> None:
    spec = make_spec(workers=deed.nodes - 1)
    await stage.store.templates.create(spec, deed.owner, template_key(spec, deed.owner, "kvm", ""))


@do.register
async def _(deed: deeds.RetireTemplate, stage: Stage) -> None:
    if found := await stage.store.templates.list():
        await stage.store.templates.retire(found[deed.template % len(found)].id)


@do.register
async def _(deed: deeds.SizePool, stage: Stage) -> None:
    pool = next((pool for pool in await stage.store.pools.list() if pool.owner == deed.owner), None)
    if pool is None:
        new = NewPool(f"{deed.owner}-pool", deed.owner, make_spec(), size=deed.size, maximum=4)
        await stage.store.pools.create(new)
    else:
        await stage.store.pools.change(pool.id, PoolChange(size=deed.size, maximum=UNSET))


@do.register
async def _(deed: deeds.Reset, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        with suppress(*_ALREADY_OTHERWISE):
            await stage.store.lifecycle.reset(cluster_id, BootSource("checkpoint", deed.to) if deed.to else IMAGE)
            stage.reset.add(cluster_id)


@do.register
async def _(deed: deeds.MakeCheckpoint, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        with suppress(*_ALREADY_OTHERWISE):
            await stage.store.checkpoints.create(cluster_id, deed.name)


@do.register
async def _(deed: deeds.DropCheckpoint, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        with suppress(*_ALREADY_OTHERWISE):
            await stage.store.checkpoints.delete(cluster_id, deed.name)


@do.register
async def _(deed: deeds.Hibernate, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        with suppress(*_ALREADY_OTHERWISE):
            await stage.store.lifecycle.hibernate(cluster_id)


@do.register
async def _(deed: deeds.Resume, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        with suppress(*_ALREADY_OTHERWISE):
            await stage.store.lifecycle.resume(cluster_id)
