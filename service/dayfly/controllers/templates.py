"""The life of finished templates: retired when old, failing or outdated; rebuilt while in use; deleted when unused.

Every worker process runs it; each write is one transaction that may be repeated. Not here: how a template is built
(cluster/ready.py), and how the rest of a deleted template is removed from the engine (gc.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.template import Template, TemplatePhase, is_unused, is_worn
from dayfly.errors import DayflyError, ImageMissing, NotANodeImage
from dayfly.settings import Settings
from dayfly.store import Store

_log = structlog.get_logger(__name__)

_COLD_SECONDS: Final = 3600.0
"""How long after a cold creation a template is made of its shape, where that is to be."""
_COLD_SHAPES: Final = 20
_BREATH_SECONDS: Final = 1.0
"""Many clusters may end in a moment: one look does for all of them."""


@dataclass(frozen=True)
class TemplateRules:
    """When templates are retired, and made by themselves; times in seconds."""

    max_age_seconds: float
    unused_seconds: float
    retry_seconds: float
    auto: bool
    look_seconds: float


class TemplateController:
    """Looks at all templates now and then, and at those that are to be closed whenever a cluster goes."""

    def __init__(self, store: Store, specs: SpecRefresher, rules: TemplateRules, clock: Clock) -> None:
        self._store, self._specs, self._rules, self._clock = store, specs, rules, clock

    async def run(self) -> None:
        """Until cancelled."""
        looked: float | None = None
        with self._store.watch_queue() as watch:
            while True:
                now = self._clock.monotonic()
                try:
                    if looked is None or now - looked >= self._rules.look_seconds:
                        looked = now
                        await self.look()
                    else:
                        await self.close()
                except DayflyError as error:
                    _log.warning("cannot look after templates", code=error.code, reason=error.message)
                await self._clock.sleep(_BREATH_SECONDS)
                await watch.wait(self._rules.look_seconds)

    async def look(self) -> None:
        """One look at all templates. Raises EngineUnavailable, DatabaseUnavailable."""
        now = self._clock.now()
        templates = await self._store.list_templates()
        failed = {template.key for template in templates if template.phase is TemplatePhase.FAILED}
        needed = await self._needed_by_pools()
        for template in templates:
            if template.phase is TemplatePhase.READY:
                await self._examine(template, now, needed, failed)
            elif template.phase is TemplatePhase.FAILED and self._may_be_tried_again(template, now):
                await self._retire(template, "it failed, and may be tried again")
        if self._rules.auto:
            await self._follow_cold_creations()
        await self.close()

    async def close(self) -> None:
        """Let go of retired templates that no cluster uses any more. Raises DatabaseUnavailable."""
        # Looked at first: on SQLite nobody else can write while we do.
        if any(template.phase is TemplatePhase.RETIRING for template in await self._store.list_templates()):
            for template_id in await self._store.close_templates():
                _log.info("template retired", template=template_id)

    async def _examine(
        self, template: Template, now: datetime, needed: Collection[str], failed: Collection[str]
    ) -> None:
        spec, key = await self._now(template.spec, template.owner)
        unused_seconds = float("inf") if template.key in needed else self._rules.unused_seconds
        if key == template.key and not is_worn(
            template, now, max_age_seconds=self._rules.max_age_seconds, unused_seconds=unused_seconds
        ):
            return
        in_use = key in needed or not is_unused(template, now, self._rules.unused_seconds)
        why = "it is worn" if key == template.key else "what it was made of has changed"
        if key is None or key in failed or not in_use:
            await self._retire(template, why)
            return
        made = await self._store.renew_template(template.id, spec, key)
        _log.info("template renewed", template=template.id, by=made and made.id, image=template.spec.image, why=why)

    async def _now(self, spec: ClusterSpec, owner: str) -> tuple[ClusterSpec, str | None]:
        """What it comes to now; without a key when its image is no more."""
        try:
            return await self._specs.now(spec, owner)
        except (ImageMissing, NotANodeImage):
            return spec, None

    async def _needed_by_pools(self) -> frozenset[str]:
        """The keys of the templates that pools are filled from."""
        pools = [pool for pool in await self._store.list_pools() if pool.largest > 0]
        keys = [(await self._now(pool.spec, pool.owner))[1] for pool in pools]
        return frozenset(key for key in keys if key is not None)

    async def _follow_cold_creations(self) -> None:
        """A template of each shape that was made from nothing after the last template of it was."""
        cold = await self._store.cold_shapes(_COLD_SECONDS, _COLD_SHAPES)
        if not cold:
            return
        templates = await self._store.list_templates(retired=True)
        for spec, owner, ready_at in cold:
            current, key = await self._now(spec, owner)
            if key is None or current.image_id != spec.image_id:
                continue  # nobody will ask for the image that it was made of
            same = [template for template in templates if template.key == key]
            if not any(template.created_at >= ready_at or _stands(template) for template in same):
                await self._make(current, owner, key)

    async def _make(self, spec: ClusterSpec, owner: str, key: str) -> None:
        template, is_new = await self._store.create_template(spec, owner, key)
        if is_new:
            _log.info("template to be made", template=template.id, image=spec.image, owner=owner)

    async def _retire(self, template: Template, why: str) -> None:
        await self._store.retire_template(template.id)
        _log.info("template retiring", template=template.id, image=template.spec.image, why=why)

    def _may_be_tried_again(self, template: Template, now: datetime) -> bool:
        return (now - template.created_at).total_seconds() >= self._rules.retry_seconds


def _stands(template: Template) -> bool:
    """Whether it keeps another one of its key from being made."""
    return template.phase not in {TemplatePhase.RETIRING, TemplatePhase.RETIRED}


def template_controller(settings: Settings, store: Store, specs: SpecRefresher, clock: Clock) -> TemplateController:
    """The templates' curator of this process."""
    rules = TemplateRules(
        max_age_seconds=settings.template_max_age_seconds,
        unused_seconds=settings.template_unused_seconds,
        retry_seconds=settings.template_retry_seconds,
        auto=settings.template_auto,
        look_seconds=settings.survey_seconds,
    )
    return TemplateController(store, specs, rules, clock)
