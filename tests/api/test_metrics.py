"""What a monitoring system reads."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from dayfly.store import NewPool, Store
from tests.support.specs import make_spec
from tests.support.template_controllers import Company


async def figures(http: httpx.AsyncClient) -> Mapping[str, float]:
    """Each sample with its labels → its figure."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(figure) for name, figure in samples}


async def test_members_templates_and_forks_are_counted(http: httpx.AsyncClient, store: Store) -> None:
    await store.create_pool(NewPool("ci", "default", make_spec(), size=2, maximum=4))
    company = Company(store)
    before = await figures(http)
    assert before['dayfly_pool_members{pool="ci",state="ready"}'] == 0
    assert before["dayfly_forks"] == 0
    for _ in range(3):
        await company.pools().look()
        await company.work()
    after = await figures(http)
    assert after['dayfly_pool_members{pool="ci",state="ready"}'] == 2
    assert after['dayfly_pool_members{pool="ci",state="provisioning"}'] == 0
    assert after['dayfly_templates{phase="ready"}'] == 1
    assert after['dayfly_templates{phase="failed"}'] == 0
    assert after["dayfly_forks"] == 2


async def test_a_service_without_any_pool_has_metrics(http: httpx.AsyncClient) -> None:
    assert set((await figures(http)).values()) == {0.0}
