"""A template: a snapshot of a running cluster, from which other clusters are forked. Values and rules; no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dayfly.domain.cluster.model import Fault
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.vocabulary import TemplatePhase

FORMAT: Final = 1
"""Counts changes, above all of QEMU's command line, that the snapshot of a machine does not survive."""
FAILURES_IN_A_ROW: Final = 3
"""After so many failed forks in a row the template is at fault."""


@dataclass(frozen=True)
class Template:
    """One template. Sizes in bytes on disk. `uses` counts all forks ever, `forks` the forks that exist.

    `key` is its template_key(). `builder`: the id of the cluster whose snapshot the template is. `failures`: failed
    forks since the last success. `fault`: why the template failed; `failed_cluster`: the id of the cluster with the
    evidence, which is the builder or the first fork.
    """

    id: str
    key: str
    owner: str
    spec: ClusterSpec
    phase: TemplatePhase
    builder: str
    created_at: datetime
    ready_at: datetime | None = None
    last_used_at: datetime | None = None
    size_bytes: int = 0
    uses: int = 0
    forks: int = 0
    failures: int = 0
    fault: Fault | None = None
    failed_cluster: str | None = None


def template_key(spec: ClusterSpec, owner: str, accelerator: Accelerator, processor: str) -> str:
    """The hash that a cluster and its template share: of shape, owner, accelerator and processor.

    The shape names the image, and thereby QEMU's version. `processor`: the host's, with microcode and kernel; it counts
    on KVM only, where machines see it.
    """
    parts = (str(FORMAT), spec.shape, owner, accelerator, processor if accelerator == "kvm" else "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def why_not_forked(spec: ClusterSpec, owner: str, key: str, templates: Sequence[Template]) -> str:
    """The reason why none of `templates` (not retired) serves a cluster of `spec`: the nearest misses.

    Of templates of `owner` alone: what another team has does not exist for it.
    """
    own = [template for template in templates if template.owner == owner]
    for template in own:
        if template.key == key:
            return f"template {template.id} is {template.phase}"
    for template in own:
        if template.spec.shape == spec.shape:
            return f"template {template.id} was saved on another processor"
    for template in own:
        if template.spec.image == spec.image:
            return f"template {template.id} {_difference(template.spec, spec)}"
    return f"owner {owner} has no template of image {spec.image}"


def _difference(template: ClusterSpec, wanted: ClusterSpec) -> str:
    if template.image_id != wanted.image_id:
        return "is of another build of its image"
    if template.workers != wanted.workers:
        plural = "" if template.workers == 1 else "s"
        return f"is of a control plane and {template.workers} worker{plural}, not {wanted.workers}"
    if template.readiness != wanted.readiness:
        return f"has readiness {template.readiness}, not {wanted.readiness}"
    if (has := _addons(template)) != (wants := _addons(wanted)):
        return f"has {has}, not {wants}"
    if template.addons != wanted.addons:
        return "has add-ons of another release"
    return "has nodes of other sizes"


def _addons(spec: ClusterSpec) -> str:
    return f"the add-ons {', '.join(addon.name for addon in spec.addons)}" if spec.addons else "no add-ons"


def without_caller_options(spec: ClusterSpec) -> ClusterSpec:
    """`spec` for a template or a pool: with the shape of `spec`, but without the caller's other options."""
    kept = ("image", "image_id", "manifest", "control_plane", "worker", "workers", "readiness", "addons")
    return ClusterSpec(**{name: getattr(spec, name) for name in kept})


def is_worn(template: Template, now: datetime, *, max_age_seconds: float, unused_seconds: float) -> bool:
    """Whether a ready template must be retired: it is too old, unused for too long, or its forks fail."""
    return (
        (now - template.created_at).total_seconds() > max_age_seconds
        or is_unused(template, now, unused_seconds)
        or template.failures >= FAILURES_IN_A_ROW
    )


def is_unused(template: Template, now: datetime, seconds: float) -> bool:
    """Whether the last fork, or without one the template's readiness, is more than `seconds` ago."""
    last = template.last_used_at or template.ready_at or template.created_at
    return (now - last).total_seconds() > seconds
