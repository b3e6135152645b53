"""The life of finished templates: retired when old, failing or outdated; rebuilt while in use; deleted when unused.

Every worker process runs it; each write is one transaction that may be repeated. Not here: how a template is built
(cluster/ready.py), and how the rest of a deleted template is removed from the engine (gc.py).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.template import Template, is_unused, is_worn
from dayfly.errors import DayflyError, ImageMissing, NotANodeImage, QuotaExceeded
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.vocabulary import TemplatePhase

_log = structlog.get_logger(__name__)

_COLD_SECONDS: Final = 3600.0
"""A template is built for shapes of which a cluster was provisioned without one within this time."""
_COLD_SHAPES: Final = 20
_BATCH_SECONDS: Final = 1.0
"""Batches the changes of many clusters into one look."""


class TemplateController:
    """Looks at all templates periodically, and at retiring ones whenever a cluster is deleted."""

    def __init__(self, settings: Settings, store: Store, specs: SpecRefresher, clock: Clock) -> None:
        self._settings, self._store, self._specs, self._clock = settings, store, specs, clock

    async def run(self) -> None:
        """Until cancelled."""
        looked: float | None = None
        with self._store.watch_queue() as watch:
            while True:
                now = self._clock.monotonic()
                try:
                    if looked is None or now - looked >= self._settings.survey_seconds:
                        looked = now
                        await self.look()
                    else:
                        await self.close()
                except DayflyError as error:
                    _log.warning("cannot reconcile templates", code=error.code, reason=error.for_operator)
                await self._clock.sleep(_BATCH_SECONDS)
                await watch.wait(self._settings.survey_seconds)

    async def look(self) -> None:
        """One look at all templates. Raises EngineUnavailable, DatabaseUnavailable."""
        await self._store.service_clock.correct()
        now = self._clock.now()
        templates = await self._store.templates.list()
        failed = {template.key for template in templates if template.phase is TemplatePhase.FAILED}
        needed = await self._needed_by_pools()
        for template in templates:
            age_seconds = (now - template.created_at).total_seconds()
            if template.phase is TemplatePhase.READY:
                await self._examine(template, now, needed, failed)
            elif template.phase is TemplatePhase.FAILED and age_seconds >= self._settings.template_retry_seconds:
                await self._retire(template, "it failed, and the back-off is over")
        if self._settings.template_auto:
            await self._follow_cold_creations()
        await self.close()

    async def close(self) -> None:
        """Complete the retirement of templates without clusters. Raises DatabaseUnavailable."""
        # Read first: on SQLite a write blocks all other writers.
        if any(template.phase is TemplatePhase.RETIRING for template in await self._store.templates.list()):
            for template_id in await self._store.templates.close():
                _log.info("template retired", template=template_id)

    async def _examine(
        self, template: Template, now: datetime, needed: Collection[str], failed: Collection[str]
    ) -> None:
        spec, key = await self._now(template.spec, template.owner)
        unused_seconds = float("inf") if template.key in needed else self._settings.template_unused_seconds
        if key == template.key and not is_worn(
            template, now, max_age_seconds=self._settings.template_max_age_seconds, unused_seconds=unused_seconds
        ):
            return
        in_use = key in needed or not is_unused(template, now, self._settings.template_unused_seconds)
        why = "it is too old, unused or failing" if key == template.key else "its image or host has changed"
        if key is None or key in failed or not in_use:
            await self._retire(template, why)
            return
        made = await self._store.templates.renew(template.id, spec, key)
        _log.info("template renewed", template=template.id, by=made and made.id, image=template.spec.image, why=why)

    async def _now(self, spec: ClusterSpec, owner: str) -> tuple[ClusterSpec, str | None]:
        """The specification with its present image, and the key; without a key where the image is missing."""
        try:
            return await self._specs.now(spec, owner)
        except (ImageMissing, NotANodeImage):
            return spec, None

    async def _needed_by_pools(self) -> frozenset[str]:
        """The keys of the templates that pools are filled from."""
        pools = [pool for pool in await self._store.pools.list() if pool.largest > 0]
        keys = [(await self._now(pool.spec, pool.owner))[1] for pool in pools]
        return frozenset(key for key in keys if key is not None)

    async def _follow_cold_creations(self) -> None:
        """Build a template of each shape that was provisioned without one since its last template."""
        cold = await self._store.statistics.cold_shapes(_COLD_SECONDS, _COLD_SHAPES)
        if not cold:
            return
        templates = await self._store.templates.list(retired=True)
        for spec, owner, ready_at in cold:
            current, key = await self._now(spec, owner)
            if key is None or current.image_id != spec.image_id:
                continue  # the image was rebuilt: no caller can request the old one
            same = [template for template in templates if template.key == key]
            if not any(template.created_at >= ready_at or _blocks(template) for template in same):
                try:
                    template, is_new = await self._store.templates.create(current, owner, key)
                except QuotaExceeded:
                    continue  # nobody asked for it
                if is_new:
                    _log.info("template queued", template=template.id, image=current.image, owner=owner)

    async def _retire(self, template: Template, why: str) -> None:
        await self._store.templates.retire(template.id)
        _log.info("template retiring", template=template.id, image=template.spec.image, why=why)


def _blocks(template: Template) -> bool:
    """Whether it prevents another template of its key."""
    return template.phase not in {TemplatePhase.RETIRING, TemplatePhase.RETIRED}
