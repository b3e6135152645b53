"""Promotions and rollbacks while clusters are created: each cluster is wholly of one image. Through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack

import httpx
import pytest

from dayfly.api.engine_lookups import EngineLookups
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.drivers.interfaces import ImageInfo
from dayfly.store import Store
from dayfly.testing.fake_images import FakeImages
from tests.store.helpers import several_stores
from tests.support.api import ApiHttp, Infrastructure
from tests.support.node_images import baked

CREATIONS = 20


class GatedImages(FakeImages):
    """An engine that answers `inspect` only when `gate` is open; `waiting` counts the calls that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = 0
        self.came = asyncio.Condition()

    async def inspect(self, reference: str) -> ImageInfo:
        async with self.came:
            self.waiting += 1
            self.came.notify_all()
        await self.gate.wait()
        return await super().inspect(reference)

    async def until_waiting(self, number: int) -> None:
        async with self.came:
            await self.came.wait_for(lambda: self.waiting == number)


@pytest.mark.parametrize("reference", ["k8s", "k8s@latest", "k8s@1"])
async def test_every_cluster_is_wholly_of_one_image(url: str, reference: str) -> None:
    engine, infrastructure = GatedImages(), Infrastructure()
    infrastructure.stored = engine
    first = baked(engine, "k8s", "a" * 12, "v1.20.2", days=1)
    second = baked(engine, "k8s", "b" * 12, "v1.21.0")
    of_digest = {"a" * 12: (first, "v1.20.2"), "b" * 12: (second, "v1.21.0")}
    async with several_stores(url, 4) as stores, AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        apis = [await stack.enter_async_context(_api(infrastructure, store)) for store in stores]

        async def move(index: int, what: str, body: Mapping[str, object]) -> None:
            await _ok(apis[index].post(f"/v1/images/k8s/{what}", json=body))

        def create(index: int) -> asyncio.Task[httpx.Response]:
            body = {"image": reference, "workers": {"count": 2}}
            return group.create_task(_ok(apis[index % len(apis)].post("/v1/clusters", json=body)))

        await move(0, "promote", {"image": first})
        made = [create(index) for index in range(CREATIONS // 2)]
        await engine.until_waiting(CREATIONS // 2)
        await move(1, "promote", {"image": second})
        made += [create(index) for index in range(CREATIONS // 2)]
        await engine.until_waiting(CREATIONS)
        await move(2, "rollback", {})
        # All of them go on at once, while the name moves.
        engine.gate.set()
        for index in range(4):
            await move(index, *(("rollback", {}) if index % 2 else ("promote", {"image": second})))
        answers = await asyncio.gather(*made)
        clusters = [await stores[0].clusters.get(answer.json()["id"]) for answer in answers]
    assert len({cluster.id for cluster in clusters}) == CREATIONS
    for answer, cluster in zip(answers, clusters, strict=True):
        manifest = cluster.spec.manifest
        assert manifest.kubernetes is not None
        assert (cluster.spec.image_id, manifest.kubernetes.version) == of_digest[manifest.digest]
        shown = answer.json()
        assert (shown["image_id"], shown["kubernetes_version"]) == of_digest[manifest.digest]
    half = CREATIONS // 2
    assert [cluster.spec.image_id for cluster in clusters] == [first] * half + [second] * half


def _api(infrastructure: Infrastructure, store: Store) -> ApiHttp:
    catalog = ImageCatalog(infrastructure.stored, store)
    # The test holds the engine's answers back for longer than a real engine takes.
    lookups = EngineLookups(seconds=300.0)
    return ApiHttp(infrastructure.services(store, resolve_image=catalog.resolve, lookups=lookups))


async def _ok(request: Awaitable[httpx.Response]) -> httpx.Response:
    answer = await request
    assert answer.is_success, answer.text
    return answer
