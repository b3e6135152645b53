"""The controllers of templates and pools on a real store, with a stand-in for the worker and without machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dayfly.clock import SystemClock
from dayfly.controllers.pools.controller import PoolController
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.controllers.templates import TemplateController
from dayfly.domain.cluster.boot_source import IMAGE, TEMPLATE
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Fault, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import ImageManifest
from dayfly.domain.pool import Pool
from dayfly.domain.security.secrets import new_secrets
from dayfly.domain.template import Template, template_key
from dayfly.errors import ImageMissing
from dayfly.settings import Settings
from dayfly.store import Claim, NewPool, Store
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_manifest, make_spec

SECRETS = new_secrets(make_spec(), datetime(2026, 1, 1, tzinfo=UTC))
FAULT = Fault("ssh_timeout", "it never answered")


class LateClock(SystemClock):
    """The machine's clock, `ahead` of the database's."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class Company:
    """A store, its controllers, and a stand-in worker. `images`: reference → the engine's present content id."""

    store: Store
    clock: LateClock = field(default_factory=LateClock)
    images: dict[str, str] = field(default_factory=lambda: {"bare": make_spec().image_id})
    broken: set[Purpose] = field(default_factory=set)
    """Clusters for these purposes fail."""
    accelerator: Accelerator = "tcg"

    def specs(self) -> SpecRefresher:
        async def resolve(reference: str) -> tuple[str, ImageManifest]:
            if reference not in self.images:
                raise ImageMissing(f"image {reference}: No such image")
            return self.images[reference], make_manifest()

        return SpecRefresher(resolve, self.key_of)

    async def key_of(self, spec: ClusterSpec, owner: str) -> str:
        return template_key(spec, owner, self.accelerator, "")

    def templates(self, **settings: object) -> TemplateController:
        return TemplateController(Settings(**settings), self.store, self.specs(), self.clock)  # type: ignore[arg-type]

    def pools(self, **settings: object) -> PoolController:
        return PoolController(Settings(**settings), self.store, self.specs(), self.clock)  # type: ignore[arg-type]

    async def work(self) -> None:
        """Bring every cluster to where it is to be, as a worker would."""
        for _ in range(20):
            await self.store.admission.admit(lambda queue: queue.waiting)
            claims = await self.store.leases.claim("stand-in", lease_seconds=60, limit=100)
            if not claims:
                return
            for claim in claims:
                await self._serve(claim)
                await self.store.leases.release(claim, due_in_seconds=None)
        raise AssertionError("there is no end of work")

    async def make_template(self, spec: ClusterSpec | None = None) -> Template:
        """A template that is ready."""
        spec = spec or make_spec()
        made, _ = await self.store.templates.create(spec, "default", await self.key_of(spec, "default"))
        await self.work()
        ready = await self.store.templates.get(made.id)
        assert ready.phase is TemplatePhase.READY
        return ready

    async def phases(self) -> dict[str, TemplatePhase]:
        """Every template's phase, by its id."""
        return {template.id: template.phase for template in await self.store.templates.list(retired=True)}

    async def _serve(self, claim: Claim) -> None:
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            if cluster.phase is not Phase.DELETING:
                await self.store.status.set_phase(claim, Phase.DELETING)
            await self.store.status.set_phase(claim, Phase.DELETED)
        elif cluster.phase is Phase.PENDING:
            await self._begin(claim, cluster)

    async def _begin(self, claim: Claim, cluster: Cluster) -> None:
        store, template_id = self.store, cluster.template_id
        if cluster.purpose in {Purpose.CLUSTER, Purpose.POOL_MEMBER} and cluster.spec.isolation == "shared":
            found = await store.templates.find(await self.key_of(cluster.spec, cluster.owner), cluster.owner)
            template_id = found.id if found else None
        is_fork = template_id is not None and cluster.purpose is not Purpose.TEMPLATE
        await store.provisioning.begin(claim, TEMPLATE if is_fork else IMAGE, secrets=SECRETS, template_id=template_id)
        if cluster.purpose in self.broken:
            await store.status.set_phase(claim, Phase.FAILED, fault=FAULT, free=True)
            return
        await store.status.set_phase(claim, Phase.READY)
        match cluster.purpose:
            case Purpose.TEMPLATE:
                await store.template_builds.saved(claim, 1000)
            case Purpose.VERIFICATION:
                await store.template_builds.verified(claim)
            case Purpose.POOL_MEMBER:
                await store.provisioning.set_paused(claim, True)


async def make_pool(company: Company, size: int = 2, name: str = "ci", image: str = "bare") -> Pool:
    """A pool of which members grow old in an hour."""
    spec = make_spec().model_copy(update={"image": image, "image_id": company.images[image]})
    wanted = NewPool(name, "default", spec, size=size, maximum=8, max_age_seconds=3600)
    return await company.store.pools.create(wanted)


async def waiting(company: Company, pool: Pool) -> list[Cluster]:
    """Members that a caller can have, the oldest first."""
    found = [one for one in await company.store.pools.members(pool.id) if one.phase is Phase.READY and one.paused]
    assert all(member.template_id is not None for member in found), "members are forks"
    return sorted(found, key=lambda member: member.created_at)
