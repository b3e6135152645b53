"""The interfaces to the outside world. Steps and controllers know these, and no library behind them.

`ContainerEngine` speaks of sandbox and containers in CRI's sense, not of Docker: a Kubernetes engine can follow. Every
method raises errors of dayfly.errors only; EngineUnavailable where the engine does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from dayfly.drivers.interfaces.container_engine import (
    ByteStream,
    ContainerEngine,
    ContainerStatus,
    EngineEvent,
    EngineInfo,
    ExecResult,
    File,
    Pressure,
    PressureGauge,
)
from dayfly.drivers.interfaces.images import ImageBuilder, ImageInfo, ImageStore, ReadLogin, TransferProgress
from dayfly.drivers.interfaces.kubernetes import ConfigMap, KubeAccess, KubeApi, KubeNode, KubePod, Manifest, OnLate
from dayfly.drivers.interfaces.nodes import CommandResult, Machines, Ram, Ssh, SshTarget
from dayfly.drivers.interfaces.tool_containers import OutputLine, ToolContainer, ToolRun, ToolRunner

__all__ = [
    "ByteStream",
    "CommandResult",
    "ConfigMap",
    "ContainerEngine",
    "ContainerStatus",
    "Drivers",
    "EngineEvent",
    "EngineInfo",
    "ExecResult",
    "File",
    "ImageBuilder",
    "ImageInfo",
    "ImageStore",
    "KubeAccess",
    "KubeApi",
    "KubeNode",
    "KubePod",
    "Machines",
    "Manifest",
    "OnLate",
    "OutputLine",
    "Pressure",
    "PressureGauge",
    "Ram",
    "ReadLogin",
    "Ssh",
    "SshTarget",
    "ToolContainer",
    "ToolRun",
    "ToolRunner",
    "TransferProgress",
]


@dataclass(frozen=True)
class Drivers:
    """The drivers that steps use."""

    engine: ContainerEngine
    ssh: Ssh
    kube: KubeApi
    machines: Machines
