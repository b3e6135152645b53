"""The metrics that a monitoring system reads."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

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
    await store.pools.create(NewPool("ci", "default", make_spec(), size=2, maximum=4))
    company = Company(store)
    before = await figures(http)
    assert before['dayfly_pool_members{owner="default",pool="ci",state="ready"}'] == 0
    assert before["dayfly_forks"] == 0
    for _ in range(3):
        await company.pools().look()
        await company.work()
    after = await figures(http)
    assert after['dayfly_pool_members{owner="default",pool="ci",state="ready"}'] == 2
    assert after['dayfly_members{state="ready"}'] == 2
    assert after['dayfly_pool_members{owner="default",pool="ci",state="provisioning"}'] == 0
    assert after['dayfly_templates{phase="ready"}'] == 1
    assert after['dayfly_templates{phase="failed"}'] == 0
    assert after["dayfly_forks"] == 2


async def test_no_accept_header_breaks_it(http: httpx.AsyncClient) -> None:
    for wanted in ("text/plain; version=x", "application/openmetrics-text; version=1.0.0", "application/json"):
        answer = await http.get("/metrics", headers={"Accept": wanted})
        assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE_PLAIN_0_0_4)
