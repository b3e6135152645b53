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
    """Upper bounds, in seconds: for failures, not for pacing."""

    sandbox: float
    boot: float
    command: float
    control_plane: float
    join: float
    nodes_ready: float
    pod: float
    api_request: float
    save: float
    """To write the machines' memory, and perhaps their disks, to stable storage."""
    load: float
    settle: float
    """The longest wait for guests to settle; `settle_least` the shortest for those with Kubernetes."""
    settle_least: float
    emulated: bool


ACCELERATED: Final = TimeLimits(
    sandbox=60,
    boot=90,
    command=60,
    control_plane=240,
    join=120,
    nodes_ready=180,
    pod=120,
    api_request=15,
    save=300,
    load=120,
    settle=60,
    settle_least=15,
    emulated=False,
)
EMULATED: Final = TimeLimits(
    sandbox=120,
    boot=300,
    command=180,
    control_plane=900,
    join=600,
    nodes_ready=600,
    pod=480,
    api_request=60,
    save=300,
    load=180,
    settle=180,
    settle_least=60,
    emulated=True,
)


def limits_for(accelerator: Accelerator, boot_seconds: float | None = None) -> TimeLimits:
    """The limits for `accelerator`; `boot_seconds` is the operator's own limit for a node's first answer."""
    limits = EMULATED if accelerator == "tcg" else ACCELERATED
    return limits if boot_seconds is None else replace(limits, boot=boot_seconds)
