"""Which steps a cluster needs, and what each waits for: a small graph, computed from the spec.

Not here: what a step does (engine/).
"""

from __future__ import annotations

from dataclasses import dataclass

from dayfly.domain.spec import ClusterSpec


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan. `node` is an index, or None for the cluster as a whole; `after` are keys of earlier steps."""

    name: str
    node: int | None = None
    after: frozenset[tuple[str, int | None]] = frozenset()

    @property
    def key(self) -> tuple[str, int | None]:
        return (self.name, self.node)


def plan_creation(spec: ClusterSpec) -> tuple[PlannedStep, ...]:
    """The steps to a ready cluster, each after all it waits for.

    All nodes boot at once; a join waits for the control plane and for its own node's boot, not for the other boots.
    """
    sandbox = PlannedStep("sandbox")
    boots = tuple(PlannedStep("boot", node.index, frozenset({sandbox.key})) for node in spec.nodes())
    if spec.manifest.kubernetes is None or spec.readiness == "booted":
        return (sandbox, *boots)
    first, *others = boots
    control_plane = PlannedStep("control_plane", 1, frozenset({first.key}))
    joins = tuple(PlannedStep("join", boot.node, frozenset({control_plane.key, boot.key})) for boot in others)
    ready = PlannedStep("ready", None, frozenset({control_plane.key, *(join.key for join in joins)}))
    steps = (sandbox, *boots, control_plane, *joins, ready)
    if spec.readiness == "nodes":
        return steps
    return (*steps, PlannedStep("smoke", None, frozenset({control_plane.key})))
