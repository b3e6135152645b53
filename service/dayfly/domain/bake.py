"""A bake of a node image that was requested over HTTP: what is ordered, its state, its events. Values; no I/O.

Not here: the work of a bake (images/), and which orders are valid (images/orders.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from dayfly.domain.cluster.model import Fault
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.vocabulary import BakePhase

Variable = str | int | bool | list[str]
"""The value of a variable of a recipe's play."""

ENDED: Final = frozenset({BakePhase.SUCCEEDED, BakePhase.FAILED, BakePhase.CANCELLED})
"""The last phases of a bake."""


@dataclass(frozen=True)
class BakeOrder:
    """What to bake: the recipe of this installation with that name, or `definition`, a whole recipe with that name.

    `variables` replace those of the recipe. `conformance`: the conformance specs, by name or pattern, that the cluster
    of the verification passes; empty: the image's short list; None: none run. `state`: of a scheduled rebuild, the
    fingerprint of what its sources had; `promote`: the name moves to the image.
    """

    recipe: str
    variables: Mapping[str, Variable] = field(default_factory=dict)
    definition: Mapping[str, Any] | None = None
    conformance: tuple[str, ...] | None = None
    state: str = ""
    promote: bool = False


@dataclass(frozen=True)
class BakedImage:
    """A verified image: its reference, which has the digest of all inputs as its tag, and its content id."""

    reference: str
    id: str


@dataclass(frozen=True)
class Bake:
    """One bake. Times are aware and in UTC.

    `attempts`: how often a builder began or continued the bake. `fault`: why the bake failed. `reserved`: admission has
    reserved the host's resources for its verification.
    """

    id: str
    owner: str
    order: BakeOrder
    phase: BakePhase
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    attempts: int = 0
    image: BakedImage | None = None
    fault: Fault | None = None
    reserved: bool = False


@dataclass(frozen=True)
class NewBakeEvent:
    """`step`: the phase of the work on the image (images/bake.py); None: the event is of the whole bake."""

    type: str
    message: str = ""
    step: str | None = None
    seconds: float | None = None
    code: str | None = None


@dataclass(frozen=True)
class BakeEvent:
    """An event on record."""

    id: int
    at: datetime
    type: str
    message: str
    step: str | None
    seconds: float | None
    code: str | None


LINE: Final = "line"
"""The type of an event that is one line of a step's output."""


def verification_cluster(recipe: str) -> str:
    """The id of the cluster that verifies a bake of the recipe. One bake of a recipe runs at a time on an engine."""
    return f"verify-{recipe.replace('.', '-')}"


def verification_spec(
    image_id: str, manifest: ImageManifest, conformance: Collection[str] | None = None
) -> ClusterSpec:
    """The cluster that verifies an image: one node. `conformance` as in BakeOrder."""
    known = manifest.kubernetes.conformance if manifest.kubernetes else None
    short = known.specs if known else ()
    return ClusterSpec(
        image=image_id,
        image_id=image_id,
        manifest=manifest,
        control_plane=manifest.control_plane,
        worker=manifest.worker,
        conformance=() if conformance is None else tuple(conformance) or short,
    )
