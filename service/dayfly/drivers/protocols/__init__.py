"""The seams to the outside world. The engine's steps know these, and no library behind them.

`ContainerEngine` speaks of a cluster's containers in CRI's sense, not of Docker: a Kubernetes engine can follow.
Every method raises errors of dayfly.errors only; DockerUnavailable where the engine does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from dayfly.drivers.protocols.engine import (
    ByteStream,
    ContainerEngine,
    ContainerStatus,
    EngineEvent,
    EngineInfo,
    ExecResult,
    File,
    Holding,
)
from dayfly.drivers.protocols.host import (
    Pressure,
    PressureGauge,
)
from dayfly.drivers.protocols.images import (
    ImageBuilder,
    ImageInfo,
    ImageStore,
    TransferProgress,
)
from dayfly.drivers.protocols.kube import (
    KubeAccess,
    KubeApi,
    KubeNode,
    KubePod,
)
from dayfly.drivers.protocols.nodes import (
    CommandResult,
    Machines,
    Memory,
    Ram,
    Ssh,
    SshTarget,
)
from dayfly.drivers.protocols.tools import (
    OutputLine,
    ToolContainer,
    ToolRun,
    ToolRunner,
)

__all__ = [
    "ByteStream",
    "CommandResult",
    "ContainerEngine",
    "ContainerStatus",
    "Drivers",
    "EngineEvent",
    "EngineInfo",
    "ExecResult",
    "File",
    "Holding",
    "ImageBuilder",
    "ImageInfo",
    "ImageStore",
    "KubeAccess",
    "KubeApi",
    "KubeNode",
    "KubePod",
    "Machines",
    "Memory",
    "OutputLine",
    "Pressure",
    "PressureGauge",
    "Ram",
    "Ssh",
    "SshTarget",
    "ToolContainer",
    "ToolRun",
    "ToolRunner",
    "TransferProgress",
]


@dataclass(frozen=True)
class Drivers:
    """What steps are given."""

    engine: ContainerEngine
    ssh: Ssh
    kube: KubeApi
    machines: Machines
