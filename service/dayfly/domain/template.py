"""A template: a snapshot of a running cluster, from which other clusters are forked. Values and rules; no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from dayfly.domain.cluster.model import Fault
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator

FORMAT: Final = 1
"""Counts changes of what machines are made of that a saved one would not survive: QEMU's command line, above all."""
FAILURES_IN_A_ROW: Final = 3
"""So many forks failed one after the other: the template is at fault."""


class TemplatePhase(StrEnum):
    """The phase of a template."""

    BUILDING = "building"
    """A cluster is created for it, and its snapshot taken."""
    VERIFYING = "verifying"
    """The snapshot is there; its first fork verifies it."""
    READY = "ready"
    RETIRING = "retiring"
    """It serves no new forks, and is retired when the last of its forks is deleted."""
    FAILED = "failed"
    RETIRED = "retired"
    """Only its record is left."""


@dataclass(frozen=True)
class Template:
    """One template. Sizes in bytes, as the disk has them. `uses` counts forks ever made, `forks` those that live.

    `key` is template_key() of what shaped it. `builder`: the id of the cluster that it was, or is being, made from.
    `failures`: forks that failed since the last that did not. `fault`: why it failed; `failed_cluster`: the id of the
    cluster that did, the builder or the first fork, which has the evidence.
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
    """What a cluster and a template must have in common: its shape, its owner, and what runs it.

    QEMU's version is the image's, which the shape names. `processor`: the host's, with microcode and
    kernel, where machines see it (KVM).
    """
    parts = (str(FORMAT), spec.shape, owner, accelerator, processor if accelerator == "kvm" else "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def without_wishes(spec: ClusterSpec) -> ClusterSpec:
    """`spec` of a cluster that is nobody's: a template's, or a pool's. Of a caller's wishes only the shape is left."""
    nobodys: dict[str, object] = {
        "labels": {},
        "ttl_seconds": None,
        "heartbeat_interval_seconds": None,
        "restart": "always",
        "isolation": "shared",
        "idle_seconds": None,
    }
    return spec.model_copy(update=nobodys)


def is_worn(template: Template, now: datetime, *, max_age_seconds: float, unused_seconds: float) -> bool:
    """Whether a ready template is to be retired: too old, unused for too long, or forks of it fail."""
    return (
        (now - template.created_at).total_seconds() > max_age_seconds
        or is_unused(template, now, unused_seconds)
        or template.failures >= FAILURES_IN_A_ROW
    )


def is_unused(template: Template, now: datetime, seconds: float) -> bool:
    """Whether nobody has used it for so long; before its first use its own readiness counts."""
    last = template.last_used_at or template.ready_at or template.created_at
    return (now - last).total_seconds() > seconds
