"""Scheduled rebuilds: queues a bake of each listed recipe whose base, files or packages have news since its last image.

Builders run it; the store has one of them look at a recipe. A rebuild is a bake with the fingerprint of what its
sources have now: no result of another fingerprint is taken from the cache, and the same news makes no second image.
Not here: what apt has (images/package_news.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.bake import BakeOrder
from dayfly.domain.bake_rebuild import RebuildRule
from dayfly.domain.image import ImageContents
from dayfly.domain.image_catalog import EngineImage
from dayfly.errors import DayflyError, InvalidRequest
from dayfly.images.package_news import describe_news
from dayfly.images.plan import BakePlan
from dayfly.images.recipe import Base
from dayfly.store import DEFAULT_OWNER

_log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 3600.0
"""After a look that failed, if the interval is not shorter."""
_POLL_SECONDS: Final = 60.0

NewestPackages = Callable[[Base, Mapping[str, str]], Awaitable[Mapping[str, str]]]
"""Package → version on an image → package → version that its distribution has now."""


@dataclass(frozen=True)
class Rebuilds:
    rules: tuple[RebuildRule, ...]
    interval_seconds: float
    catalog: ImageCatalog
    plan: Callable[[str], BakePlan]
    newest_packages: NewestPackages
    clock: Clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for rule in self.rules:
                await self._look(rule)
            await self.clock.sleep(min(_POLL_SECONDS, self.interval_seconds))

    async def _look(self, rule: RebuildRule) -> None:
        store = self.catalog.store.rebuilds
        try:
            if not await store.begin_check(rule.recipe, self.interval_seconds):
                return
            found = await self.check(rule)
        except DayflyError as error:
            _log.warning("cannot look for news of a recipe", recipe=rule.recipe, code=error.code, reason=str(error))
            metrics.rebuild_checks.labels("failed").inc()
            try:
                await store.repeat_check(rule.recipe, min(_RETRY_SECONDS, self.interval_seconds))
            except DayflyError as again:
                _log.warning("cannot postpone a look", recipe=rule.recipe, code=again.code)
        else:
            metrics.rebuild_checks.labels("queued" if found else "nothing").inc()

    async def check(self, rule: RebuildRule) -> str:
        """Compare the last image of the recipe with its sources; queue a rebuild for news. The news, or nothing.

        Raises the errors of a plan and of apt, BakeQueueFull, EngineUnavailable, DatabaseUnavailable.
        """
        # In a thread: the plan reads all files of the recipe.
        plan = await asyncio.to_thread(self.plan, rule.recipe)
        if plan.recipe.layer is not None or not isinstance(plan.base, Base):
            why = "is a layer" if plan.recipe.layer is not None else "is baked on a cloud image"
            raise InvalidRequest(f"recipe {rule.recipe} {why}, which has no scheduled rebuilds")
        image = self._last(rule.recipe, await self.catalog.present())
        if image is None:
            _log.info("no image to rebuild", recipe=rule.recipe)
            return ""
        contents = image.contents or ImageContents(digest=image.manifest.digest, inputs=image.manifest.digest)
        installed = contents.packages or {}
        newest = await self.newest_packages(plan.base, installed)
        state = hashlib.sha256(json.dumps([plan.inputs, sorted(newest.items())]).encode()).hexdigest()
        if state == contents.state:
            return ""
        news = _news(plan, contents, newest)
        if news:
            order = BakeOrder(rule.recipe, state=state, promote=rule.promote)
            message = f"scheduled rebuild of {image.id}: {news}"
            if await self.catalog.store.rebuilds.create(order, DEFAULT_OWNER, message) is None:
                return ""
            _log.info("rebuild queued", recipe=rule.recipe, news=news)
        return news

    def _last(self, recipe: str, present: tuple[EngineImage, ...]) -> EngineImage | None:
        """The newest image that the recipe gave, whether it is promoted or not."""
        own = [
            one
            for one in present
            if one.manifest.recipe == recipe and recipe in one.names and not (one.contents and one.contents.variant)
        ]
        return max(own, key=lambda one: (one.created_at, one.id), default=None)


def _news(plan: BakePlan, contents: ImageContents, newest: Mapping[str, str]) -> str:
    news = []
    if contents.inputs != plan.inputs:
        news.append("its recipe, base or roles have changed")
    if contents.packages is None:
        news.append("its packages are not known, because an older release baked it")
    elif packages := describe_news(contents.packages, newest):
        news.append(packages)
    return "; ".join(news)
