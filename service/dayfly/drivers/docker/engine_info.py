"""An engine's version and properties (`GET /version` and `GET /info`), of Docker and of Podman."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dayfly.drivers.interfaces import EngineInfo

_SNAPSHOTTER: Final = ["driver-type", "io.containerd.snapshotter.v1"]
"""In `DriverStatus` of an engine whose images are in containerd."""
_PODMAN_LIMITATIONS: Final = ("shows no progress of a push",)
_ROOTLESS: Final = "runs without root, which was never tried"


def is_podman(version: Mapping[str, Any]) -> bool:
    return any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or ())


def engine_info(version: Mapping[str, Any], info: Mapping[str, Any]) -> EngineInfo:
    """`version` and `info` are the engine's answers to `GET /version` and `GET /info`."""
    podman = is_podman(version)
    rootless = bool(info.get("Rootless")) or any("rootless" in str(one) for one in info.get("SecurityOptions") or ())
    return EngineInfo(
        version=str(info["ServerVersion"]),
        kernel=str(info["KernelVersion"]),
        cpus=int(info["NCPU"]),
        memory_bytes=int(info["MemTotal"]),
        storage_driver=str(info["Driver"]),
        cgroup_version=int(info.get("CgroupVersion") or 1),
        cgroup_driver=str(info["CgroupDriver"]),
        root=str(info["DockerRootDir"]),
        ipv4_forwarding=bool(info["IPv4Forwarding"]),
        name="Podman" if podman else "Docker",
        api_version=str(version.get("ApiVersion", "")),
        min_api_version=str(version.get("MinAPIVersion", "")),
        image_store=_image_store(info, podman=podman),
        limitations=(_PODMAN_LIMITATIONS if podman else ()) + ((_ROOTLESS,) if rootless else ()),
    )


def _image_store(info: Mapping[str, Any], *, podman: bool) -> str:
    if podman:
        return f"containers/storage, {info['Driver']}"
    if _SNAPSHOTTER in (info.get("DriverStatus") or ()):
        return f"containerd, {info['Driver']} snapshotter"
    return f"{info['Driver']} graph driver"
