"""What routes depend on: the store, and functions of lower layers, which app.py hands over.

Routes never reach an engine themselves: the functions that ask it raise EngineUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from dayfly.api.authentication import Authentication
from dayfly.api.engine_lookups import EngineLookups
from dayfly.api.held_responses import HeldOfTeams, HeldResponses
from dayfly.api.queue_cache import QueueCache
from dayfly.api.rate_limits import RateLimits
from dayfly.clock import Clock
from dayfly.domain.addon import Addon, AddonDefinition
from dayfly.domain.bake import BakeOrder
from dayfly.domain.cluster.model import Cluster, MachineMemory
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.engine_resource import Orphan
from dayfly.domain.image import ImageManifest
from dayfly.domain.image_catalog import EngineImage
from dayfly.domain.scheduling.resources import CapacityRules, Resources
from dayfly.domain.security.oidc import Issuer
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import TooManyStreams
from dayfly.settings import Settings
from dayfly.store import Store

ReadinessCheck = Callable[[], Awaitable[object]]
"""Returns if a dependency works; raises its error otherwise."""


@dataclass(frozen=True)
class ApiServices:
    """Dependencies and limits of the API.

    `settings`: the limits of TTLs and holds, and the memory overcommit of forks. `rules`: the host's resources for
    clusters. `checks`: name of a dependency → check. `allowed_hosts`: accepted host names in the Host header, without
    ports; None accepts any.
    """

    settings: Settings
    store: Store
    resolve_image: Callable[[str], Awaitable[tuple[str, ImageManifest]]]
    """The content id and the manifest of the image at a full reference.

    Raises ImageMissing, ImageRetired, NotANodeImage.
    """
    present_images: Callable[[], Awaitable[tuple[EngineImage, ...]]]
    """The node images on the engine, the newest first."""
    find_image: Callable[[str, str | None], Awaitable[EngineImage]]
    """The image that a request about a name means by a digest, a reference or None (the last baked or pulled one).

    A retired one, too. Raises ImageMissing, NotANodeImage.
    """
    keep_image: Callable[[str, EngineImage], Awaitable[None]]
    """Keeps an image that is to be promoted, by its name, from the removal by later bakes."""
    release_image: Callable[[str, EngineImage], Awaitable[None]]
    """Undoes keep_image, of an image that was not promoted, as it was found before."""
    base_of: Callable[[str], str | None]
    """The base of a recipe, as this release has it."""
    template_key_of: Callable[[ClusterSpec, str], Awaitable[str]]
    """domain.template.template_key, of a specification and its owner, on this host. Raises ImageMissing."""
    host_capacity: Callable[[], Awaitable[Resources]]
    """What the host of the nodes has in all; remembered by the implementation, for a request waits for it."""
    engine_versions: Callable[[], Awaitable[Mapping[str, str]]]
    """What the engine says of itself now: `name`, `version`, `api_version`, `kernel`, `image_store`."""
    machine_memory: Callable[[str], Awaitable[MachineMemory]]
    """What the VM in a container has of the host's memory. Raises VmExited, ContainerExited, CommandFailed."""
    node_runs: Callable[[str, str], Awaitable[bool]]
    """Of a cluster's id and a node's name: whether the container of its VM runs."""
    read_console: Callable[[str, str, int], Awaitable[bytes]]
    """Of a cluster's id and a node's name: at most so many bytes of the end of what its serial console printed."""
    follow_console: Callable[[str, str], AsyncIterator[bytes]]
    """What that console prints from now on; ends when the node does."""
    collect_diagnostics: Callable[[Cluster, ClusterSecrets | None], Awaitable[Mapping[str, str]]]
    """Short name (`node01/console`, `engine`) → text without secrets. What cannot be collected is left out or named."""
    find_orphans: Callable[[], Awaitable[Sequence[Orphan]]]
    remove_orphans: Callable[[Sequence[Orphan]], Awaitable[Sequence[Orphan]]]
    """Removes these orphans; those with an `error` are still there."""
    check_bake: Callable[[BakeOrder], Awaitable[None]]
    """Whether the recipes and files of this server allow the order. Raises NotFound, InvalidRequest, BadName."""
    clock: Clock
    rules: CapacityRules
    checks: Mapping[str, ReadinessCheck]
    allowed_hosts: frozenset[str] | None
    addons: Mapping[str, AddonDefinition] = field(default_factory=dict)
    """What clusters can have beside their image, by name."""
    why_addon_unavailable: Callable[[AddonDefinition], str | None] = lambda _: None
    """What is missing before a cluster can have the add-on; None: nothing."""
    complete_addon: Callable[[AddonDefinition], Addon] = AddonDefinition.of_cluster
    """The add-on as a cluster gets it. Raises AddonUnavailable."""
    login_issuers: Callable[[], Sequence[Issuer]] = tuple
    """The OIDC issuers of tokens that are accepted now."""
    authentication: Authentication = field(default_factory=Authentication)
    queue_cache: QueueCache = field(default_factory=QueueCache)
    lookups: EngineLookups = field(default_factory=EngineLookups)
    held: HeldResponses = field(default_factory=HeldResponses)
    streams: HeldResponses = field(default_factory=lambda: HeldResponses(refusal=TooManyStreams))
    held_of_teams: HeldOfTeams = field(default_factory=HeldOfTeams)
    rates: RateLimits = field(default_factory=RateLimits)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: held responses end with the present state."""


async def _services(request: Request) -> ApiServices:
    # A coroutine: FastAPI runs functions in threads, which takes longer than all that a short request does.
    return cast("ApiServices", request.app.state.services)


Services = Annotated[ApiServices, Depends(_services)]
"""Type of a route's parameter that receives the services."""


async def require_caller(request: Request) -> None:
    """Raises ClientDisconnect if the caller has left. Call it just before the commit, after the body was read."""
    if await request.is_disconnected():
        raise ClientDisconnect
