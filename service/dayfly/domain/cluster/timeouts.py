"""Time limits. Emulation makes everything 10 to 20 times slower: limits scale with the accelerator.

The emulated limits are measurements on two cores without KVM, at least doubled for noisy machines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

Accelerator = Literal["kvm", "tcg"]


TEARDOWN_SECONDS: Final = 120.0
"""Removing containers is the engine's work: its limit does not depend on the accelerator."""


@dataclass(frozen=True)
class TimeLimits:
    """Upper bounds, in seconds: for failures, not for pacing. The defaults are for machines on KVM."""

    sandbox: float = 60
    boot: float = 90
    command: float = 60
    control_plane: float = 240
    join: float = 120
    nodes_ready: float = 180
    pod: float = 120
    addons: float = 600
    """To install or remove the add-ons of a cluster, all together."""
    conformance_spec: float = 600
    """For one conformance spec: upstream's own waits end within ten minutes."""
    conformance: float = 4 * 3600
    """For a list of conformance specs: all that 1.20 has, one after the other."""
    api_request: float = 15
    save: float = 300
    """To write the machines' memory, and perhaps their disks, to stable storage."""
    load: float = 120
    wait_idle: float = 60
    """The longest wait for idle guests; `wait_idle_least` the shortest for those with Kubernetes."""
    wait_idle_least: float = 15
    emulated: bool = False


ACCELERATED: Final = TimeLimits()
EMULATED: Final = TimeLimits(
    sandbox=120,
    boot=300,
    command=180,
    control_plane=900,
    join=600,
    nodes_ready=600,
    pod=480,
    addons=1800,
    conformance_spec=1200,
    conformance=12 * 3600,
    api_request=60,
    load=180,
    wait_idle=180,
    wait_idle_least=60,
    emulated=True,
)


def limits_for(accelerator: Accelerator, boot_seconds: float | None = None) -> TimeLimits:
    """The limits for `accelerator`; `boot_seconds` is the operator's own limit for a node's first answer."""
    limits = EMULATED if accelerator == "tcg" else ACCELERATED
    return limits if boot_seconds is None else replace(limits, boot=boot_seconds)
