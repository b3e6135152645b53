"""The tested hosts: a suite of Debian, an engine, and the engine's setup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

_COMMON: Final = ("ca-certificates", "iproute2", "iptables", "openssh-client", "procps", "python3", "python3-venv")
_PODMAN: Final = ("aardvark-dns", "conmon", "crun", "netavark", "nftables", "podman")


@dataclass(frozen=True)
class HostKind:
    """One host. `packages` are on its root file system; `daemon` is Docker's daemon.json."""

    name: str
    suite: str
    engine: Literal["docker", "podman"] | None
    packages: tuple[str, ...]
    daemon: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> str:
        return "/run/podman.sock" if self.engine == "podman" else "/run/docker.sock"

    @property
    def serve(self) -> tuple[str, ...]:
        """The engine's argv."""
        if self.engine == "podman":
            return ("podman", "system", "service", "--time", "0", f"unix://{self.socket}")
        return ("dockerd", "--host", f"unix://{self.socket}")


def _docker(name: str, suite: str, *, containerd: bool = False, **environment: str) -> HostKind:
    daemon: dict[str, object] = {"features": {"containerd-snapshotter": True}} if containerd else {}
    return HostKind(name, suite, "docker", (*_COMMON, "docker.io"), daemon, environment)


KINDS: Final[Mapping[str, HostKind]] = {
    kind.name: kind
    for kind in (
        _docker("debian13-docker", "trixie"),
        _docker("debian12-docker", "bookworm"),
        _docker("debian13-docker-containerd", "trixie", containerd=True),
        # Docker 29 speaks no API older than 1.44, and keeps images in containerd by default.
        _docker("unstable-docker-containerd", "unstable", containerd=True, DOCKER_MIN_API_VERSION="1.44"),
        HostKind("debian13-podman", "trixie", "podman", (*_COMMON, *_PODMAN)),
        # Nothing but apt, to run the README's commands on.
        HostKind("debian12-bare", "bookworm", None, ("ca-certificates",)),
        HostKind("debian13-bare", "trixie", None, ("ca-certificates",)),
        HostKind("unstable-bare", "unstable", None, ("ca-certificates",)),
    )
}
SHORT: Final = "debian13-docker"
"""The kind that every run of the suite tests; the others need `--long`."""
