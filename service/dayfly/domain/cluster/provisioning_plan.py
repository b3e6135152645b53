"""The provisioning plan: the steps of a cluster and their dependencies, computed from spec and boot source.

Not here: the steps themselves (steps/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.spec import ClusterSpec

SHARED_STEPS: Final = frozenset({"remove_stale", "sandbox", "registry"})
"""The steps that are the same for every boot source."""


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan. `node` is an index, or None for the whole cluster; `after` are the keys of earlier steps."""

    name: str
    node: int | None = None
    after: frozenset[tuple[str, int | None]] = frozenset()

    @property
    def key(self) -> tuple[str, int | None]:
        return (self.name, self.node)


def plan_steps(spec: ClusterSpec, origin: BootSource | None = None, *, generation: int = 1) -> tuple[PlannedStep, ...]:
    """The steps to a ready cluster, each after its dependencies. `origin` is the boot source; None: machines' disks.

    The containers of other generations are removed first, unless the machines keep their disks. With Kubernetes, and
    after a restore, the step `ready` comes after all others: what it sees is so when the cluster becomes ready. Without
    Kubernetes, `boot` and `personalize` end with an answer over SSH themselves. Only `conformance` comes after `ready`:
    its specs need a ready cluster, and the step ends with another look at what `ready` promises.
    """
    steps = _made(spec, origin, generation)
    if _changes_addons(spec, origin):
        steps = (*steps, PlannedStep("addons", None, frozenset(step.key for step in steps)))
    if not wants_kubernetes(spec) and (origin is None or origin.kind in {"image", "template"}):
        return steps
    steps = (*steps, PlannedStep("ready", None, frozenset(step.key for step in steps)))
    if spec.conformance and origin is not None and origin.kind in {"image", "template"}:
        # Not beside what a caller runs: other sources, and the machines' own disks, may have a caller's workloads.
        return (*steps, PlannedStep("conformance", None, frozenset(step.key for step in steps)))
    return steps


def _made(spec: ClusterSpec, origin: BootSource | None, generation: int) -> tuple[PlannedStep, ...]:
    if origin is None or origin.keeps_disks or generation == 1:
        cleared: tuple[PlannedStep, ...] = ()
    else:
        cleared = (PlannedStep("remove_stale"),)
    sandbox = PlannedStep("sandbox", None, frozenset(step.key for step in cleared))
    registry = PlannedStep("registry", None, frozenset({sandbox.key}))
    if origin is None or origin.kind == "image":
        return (*cleared, sandbox, registry, *_booted(spec, sandbox))
    # The registry's content in a checkpoint is restored with the machines.
    ground = registry if origin.kind == "checkpoint" else sandbox
    loaded = _loaded(spec, ground, origin)
    if origin.kind == "template" and wants_kubernetes(spec):
        # The control plane gets the processors first: the registry is not needed before the cluster is ready.
        registry = PlannedStep("registry", None, frozenset({("personalize", 1)}))
        return (*cleared, sandbox, *loaded, registry)
    return (*cleared, sandbox, registry, *loaded)


def _booted(spec: ClusterSpec, sandbox: PlannedStep) -> tuple[PlannedStep, ...]:
    """All nodes boot at once. A join waits for its own node's boot only.

    A worker's kubelet starts while the API server does, and registers when that answers.
    """
    boots = tuple(PlannedStep("boot", node.index, frozenset({sandbox.key})) for node in spec.nodes())
    if not wants_kubernetes(spec):
        return boots
    first, *others = boots
    control_plane = PlannedStep("control_plane", 1, frozenset({first.key}))
    joins = tuple(PlannedStep("join", boot.node, frozenset({boot.key})) for boot in others)
    if spec.readiness == "nodes":
        return (*boots, control_plane, *joins)
    return (*boots, control_plane, *joins, PlannedStep("smoke_test", None, frozenset({control_plane.key})))


def _loaded(spec: ClusterSpec, ground: PlannedStep, origin: BootSource) -> tuple[PlannedStep, ...]:
    """All machines are loaded together; then forks are personalised. No smoke test: it ran before the snapshot."""
    restore = PlannedStep("restore", None, frozenset({ground.key}))
    if origin.kind != "template":
        return (restore,)
    first, *others = (PlannedStep("personalize", node.index, frozenset({restore.key})) for node in spec.nodes())
    if wants_kubernetes(spec):
        # After the control plane, which gets the processors first so that its API answers sooner.
        others = [PlannedStep("personalize", one.node, frozenset({first.key})) for one in others]
    return (restore, first, *others)


def _changes_addons(spec: ClusterSpec, origin: BootSource | None) -> bool:
    """Whether add-ons must be installed or removed. Machines with their own disks are left as their callers made them.

    The machines of a template or a checkpoint have the add-ons already, unless a caller changed these since.
    """
    if not wants_kubernetes(spec) or origin is None or origin.keeps_disks:
        return False
    return bool(spec.addons) if origin.kind == "image" else spec.addons_revision > 0


def wants_kubernetes(spec: ClusterSpec) -> bool:
    """Whether the cluster is ready only when its Kubernetes is ready."""
    return spec.manifest.kubernetes is not None and spec.readiness != "booted"
