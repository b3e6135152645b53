"""Memory accounting: with overcommit, only clusters that will be forks count as forks."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.domain.scheduling.resources import demand
from dayfly.store import Store
from tests.support.api import ApiHttp, Images, Infrastructure
from tests.support.specs import make_spec
from tests.support.template_controllers import Company

BODY = {"image": "bare", "readiness": "booted"}


def as_asked(image_id: str, manifest: ImageManifest) -> ClusterSpec:
    """The spec that BODY comes to."""
    resolved = {"image": "dayfly/bare:latest", "image_id": image_id, "manifest": manifest, "readiness": "booted"}
    return make_spec().model_copy(update=resolved)


async def needs(store: Store, body: dict[str, str], factor: float) -> int:
    """The MiB that admission counts for a cluster of `body`."""
    services = Infrastructure().services(store, {"fork_memory_overcommit": factor})
    async with ApiHttp(services) as client:
        answer = await client.post("/v1/clusters", json=body)
        assert answer.status_code == 202, answer.text
        (waiting,) = [one for one in (await store.admission.queue()).waiting if one.id == answer.json()["id"]]
        return waiting.needs.memory_mib


@pytest.mark.parametrize("factor", [1.0, 2.0])
async def test_what_cannot_be_a_fork_counts_in_full(store: Store, factor: float) -> None:
    spec = as_asked(*await Images().resolve("dayfly/bare:latest"))
    assert await needs(store, BODY, factor) == demand(spec).memory_mib, "there is no template"
    await Company(store).make_template(spec)
    assert await needs(store, {**BODY, "isolation": "strict"}, factor) == demand(spec).memory_mib
    assert await needs(store, BODY, factor) == demand(spec, memory_factor=factor).memory_mib
