"""/metrics: pools, templates and forks in Prometheus' text format. Not here: the counting (store/statistics.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from dayfly.api.dependencies import Services
from dayfly.store import Store

router: Final = APIRouter(tags=["system"])


@dataclass(frozen=True)
class _Figures:
    """A Prometheus collector of figures that were read beforehand: collect() cannot await the store."""

    metrics: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


@router.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
async def get_metrics(services: Services) -> PlainTextResponse:
    """Numbers of pool members, templates and forks, in Prometheus' text format."""
    figures = _Figures((await _members(services.store), await _templates(services.store), await _forks(services.store)))
    return PlainTextResponse(generate_latest(figures), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _members(store: Store) -> Metric:
    text = "Members of a pool: ready, provisioning, failed, or deleting."
    family = GaugeMetricFamily("dayfly_pool_members", text, labels=["pool", "state"])
    for labels, count in sorted((await store.statistics.count_members()).items()):
        family.add_metric(labels, count)
    return family


async def _templates(store: Store) -> Metric:
    family = GaugeMetricFamily("dayfly_templates", "Templates, by phase.", labels=["phase"])
    for phase, count in (await store.statistics.count_templates()).items():
        family.add_metric([phase.value], count)
    return family


async def _forks(store: Store) -> Metric:
    return GaugeMetricFamily("dayfly_forks", "Living forks of templates.", value=await store.statistics.count_forks())
