"""The session that all trials of one examination share: connections, and the results of earlier trials.

Not here: any trial, and the order of trials (examination.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import filterfalse
from typing import Final, TypeVar

from dayfly.app import Infrastructure
from dayfly.client import AsyncClient, ClientError, Cluster, ClusterFailed, Template
from dayfly.clock import Clock
from dayfly.doctor.checks import Check
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.service import TrialService
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.cluster.timeouts import ACCELERATED, TEARDOWN_SECONDS, TimeLimits
from dayfly.domain.image import ImageManifest
from dayfly.domain.image_catalog import is_in_use_reference
from dayfly.drivers.interfaces import EngineInfo, ImageInfo, ImageStore
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer
from dayfly.schemas.clusters import wait_is_over
from dayfly.settings import Settings
from dayfly.vocabulary import WaitFor

T = TypeVar("T")

_HOLD_SECONDS: Final = 2.0
"""How long one request waits: the interval of progress reports."""
_POLL_SECONDS: Final = 0.5
_BOOTED: Final = {"cluster.fallback", "cluster.not_forked"}
WORKERS: Final = 1
PURPOSES: Final = ("cluster", "template", "verification", "pool_member")


@dataclass(frozen=True)
class NodeImage:
    """The image under trial. `before`: images_of_bake() before any trial pushed or pulled the image."""

    reference: str
    info: ImageInfo
    manifest: ImageManifest
    manifest_text: str
    before: Mapping[str, tuple[str, ...]]


async def images_of_bake(
    images: ImageStore, manifest_text: str, *, besides: Collection[str] = ()
) -> Mapping[str, tuple[str, ...]]:
    """Content id → references of all images with this manifest, without the references `besides`.

    Nor those that say which installations use the image: they come and go.
    """
    found = [one for one in await images.list(label=LABEL_IMAGE) if one.labels.get(LABEL_IMAGE) == manifest_text]
    return {one.id: tuple(sorted({*filterfalse(is_in_use_reference, one.references)} - {*besides})) for one in found}


@dataclass
class Session:
    """`operator` are the operator's settings, `settings` those of the service under trial, on the same engine.

    `infrastructure` are this process's own drivers, with the service's instance. `show` receives progress.
    """

    operator: Settings
    settings: Settings
    wanted_image: str
    infrastructure: Infrastructure
    api: AsyncClient
    service: TrialService
    clock: Clock
    show: Callable[[str], None]

    progress: str = ""
    """The last text that was shown: the reason in the error of a trial that takes too long."""
    checks: tuple[Check, ...] = ()
    engine: EngineInfo | None = None
    accelerator: AcceleratorAnswer | None = None
    limits: TimeLimits = ACCELERATED
    image: NodeImage = field(init=False)
    """Set by the trial that finds it, which all trials with clusters need."""
    cluster: str = ""
    cold_host_keys: tuple[str, ...] = ()
    template: str = ""
    fork: str = ""
    volumes: set[str] = field(default_factory=set)
    """Every volume that a container of this instance has used, anonymous volumes included."""
    references: set[str] = field(default_factory=set)
    """Image references that a trial created, and that the clean-up removes."""

    def show_progress(self, text: str) -> None:
        self.progress = text
        self.show(text)

    @property
    def has_kubernetes(self) -> bool:
        return self.image.manifest.kubernetes is not None

    def boot_limit(self) -> float:
        """Seconds from the request of a cold cluster to ready, with one retry."""
        limits = self.limits
        kubernetes = limits.control_plane + limits.join + limits.nodes_ready + limits.pod if self.has_kubernetes else 0
        return 2 * (limits.sandbox + limits.boot) + kubernetes

    def load_limit(self) -> float:
        """Seconds to restore a cluster until it is ready, and for some commands on its nodes."""
        limits = self.limits
        kubernetes = limits.nodes_ready + limits.pod if self.has_kubernetes else 0
        return limits.sandbox + limits.load + 6 * limits.command + kubernetes

    def save_limit(self) -> float:
        """Seconds to save all machines, and stop their containers."""
        return self.limits.save + TEARDOWN_SECONDS + self.limits.command

    async def until(self, cluster_id: str, wanted: WaitFor) -> Cluster:
        """The cluster, once it is `wanted`. Raises ClusterFailed when it can no longer become `wanted`.

        Has no limit of its own: the trial has one.
        """
        while True:
            seen = await self.api.get(cluster_id, wait=wanted, timeout_seconds=_HOLD_SECONDS)
            self.show_progress(f"cluster {seen.name}: {_present(seen)}")
            if wait_is_over(seen, wanted):
                break
        if seen.phase != wanted or (wanted == "ready" and seen.desired != "present"):
            raise ClusterFailed(seen)
        return seen

    async def poll(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """The first value of `look` that is not None. Has no limit of its own."""
        while (found := await look()) is None:
            await self.clock.sleep(_POLL_SECONDS)
        return found

    async def until_template_ready(self, template_id: str) -> Template:
        """The template, once its first fork has verified it. Raises TrialFailed with the template's own code."""

        async def look() -> Template | None:
            seen = await self.api.template(template_id)
            working = await self.api.list(purposes=("template", "verification"))
            steps = [_present(await self.api.get(one.id)) for one in working[:1]]
            self.show_progress(", ".join([f"template: {seen.phase}", *steps]))
            if seen.phase in {"building", "verifying"}:
                return None
            if seen.phase != "ready":
                error = seen.error
                code, message = (error.code, error.message) if error else ("template_not_ready", "")
                raise TrialFailed(code, f"the template is {seen.phase}: {message}")
            return seen

        return await self.poll(look)

    async def last_event(self, cluster_id: str) -> int:
        """The id of the cluster's newest event; 0 without events."""
        events = await self.api.all_events(cluster_id)
        return events[-1].id if events else 0

    async def require_no_fallback(self, cluster_id: str, *, after: int = 0) -> None:
        """Raises TrialFailed when the cluster's machines were booted instead of restored."""
        for event in await self.api.all_events(cluster_id):
            if event.id > after and event.type in _BOOTED:
                raise TrialFailed(event.code or "fallback", f"the cluster is ready, but {event.message}")

    async def note_volumes(self) -> None:
        """Record the volumes that containers use now, to check their deletion later."""
        self.volumes |= await self.infrastructure.engine.volumes_in_use()

    async def evidence(self) -> Mapping[str, bytes]:
        """Logs, records, events and diagnostics of the service and its clusters, or the errors of their collection."""
        found = {"service.log": self.service.log().encode()}
        if not self.service.running:
            return found
        for one in await self.api.list(purposes=PURPOSES):
            found[f"{one.id}.json"] = one.model_dump_json(indent=2).encode()
            try:
                events = await self.api.all_events(one.id)
                lines = (
                    f"{event.at.isoformat()} {event.type} {event.code or ''} {event.message}\n" for event in events
                )
                found[f"{one.id}-events.txt"] = "".join(lines).encode()
                found[f"{one.id}-diagnostics.tar.gz"] = await self.api.diagnostics(one.id)
            except ClientError as error:
                found[f"{one.id}-not-collected.txt"] = f"{error}\n".encode()
        return found


def _present(cluster: Cluster) -> str:
    """A cluster's phase, and its running steps."""
    running = [
        f"{step.name}{f' of {step.node}' if step.node else ''} ({step.seconds:.0f} s{': ' if step.detail else ''}"
        f"{step.detail})"
        for step in cluster.steps
        if step.state in {"running", "waiting"}
    ]
    return f"{cluster.phase}, {', '.join(running)}" if running else cluster.phase
