"""Debian packages with the names, files and dependencies of those of pkgs.k8s.io, made by dpkg-deb of given programs.

Not here: the programs (programs.py), and the repository (repository.py).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.images.process import run

ARCHITECTURE: Final = "amd64"
REVISION: Final = "1.1"
NAMES: Final = ("cri-tools", "kubeadm", "kubectl", "kubelet", "kubernetes-cni")

# The unit and its drop-in have the paths that kubeadm writes and reads.
_UNIT: Final = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""
_DROP_IN: Final = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
_ENABLE: Final = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then deb-systemd-helper enable kubelet.service; fi
"""
_MAINTAINER: Final = "Dayfly's tests <tests@dayfly.invalid>"
_SUMMARIES: Final = {
    "cri-tools": "Command-line utility for the Container Runtime Interface",
    "kubeadm": "Command-line utility for administering a Kubernetes cluster",
    "kubectl": "Command-line utility for interacting with a Kubernetes cluster",
    "kubelet": "Node agent for Kubernetes clusters",
    "kubernetes-cni": "Plugins of the Container Network Interface",
}


@dataclass(frozen=True)
class Programs:
    """The files of the packages, and the versions that are not Kubernetes'. `plugins`: a folder of CNI plugins."""

    kubernetes: str
    kubelet: Path
    kubeadm: Path
    kubectl: Path
    crictl: Path
    plugins: Path
    plugins_version: str

    @property
    def minor(self) -> str:
        """As in a repository's address: v1.20."""
        return minor_of(self.kubernetes)


def minor_of(version: str) -> str:
    """v1.20 of v1.20.2."""
    found = re.fullmatch(r"(v\d+\.\d+)\.\d+", version)
    assert found is not None, f"{version} is not a version of Kubernetes"
    return found[1]


async def make_packages(programs: Programs, folder: Path) -> tuple[Path, ...]:
    """The five packages in `folder`, sorted by name, with file names as upstream's. Raises BakeFailed, DiskFull."""
    version = programs.kubernetes.removeprefix("v")
    # cri-tools is released with each minor version, under its own patch versions.
    tools = f"{programs.minor.removeprefix('v')}.0"
    trees: dict[str, tuple[str, str, dict[str, Path | str]]] = {
        "cri-tools": (tools, "", {"usr/bin/crictl": programs.crictl}),
        "kubeadm": (
            version,
            f"cri-tools (>= {tools})",
            {
                "usr/bin/kubeadm": programs.kubeadm,
                "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": _DROP_IN,
            },
        ),
        "kubectl": (version, "", {"usr/bin/kubectl": programs.kubectl}),
        "kubelet": (
            version,
            f"kubernetes-cni (>= {programs.plugins_version}), mount, util-linux, init-system-helpers",
            {
                "usr/bin/kubelet": programs.kubelet,
                "usr/lib/systemd/system/kubelet.service": _UNIT,
                "etc/default/kubelet": "KUBELET_EXTRA_ARGS=\n",
                "etc/kubernetes/manifests/.kubelet-keep": "",
                "var/lib/kubelet/.kubelet-keep": "",
            },
        ),
        "kubernetes-cni": (
            programs.plugins_version,
            "",
            {f"opt/cni/bin/{plugin.name}": plugin for plugin in sorted(programs.plugins.iterdir())},
        ),
    }
    made = [await _make(name, *trees[name], folder) for name in NAMES]
    return tuple(made)


async def _make(name: str, version: str, depends: str, files: Mapping[str, Path | str], folder: Path) -> Path:
    tree = folder / f"{name}.tree"
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.write_text(content)
            target.chmod(0o644)
        else:
            shutil.copyfile(content, target)
            target.chmod(0o755)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) >> 10
    control = {
        "Package": name,
        "Version": f"{version}-{REVISION}",
        "Architecture": ARCHITECTURE,
        "Maintainer": _MAINTAINER,
        "Installed-Size": str(size),
        "Depends": depends,
        "Section": "net",
        "Priority": "optional",
        "Homepage": "https://kubernetes.io",
        "Description": _SUMMARIES[name],
    }
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items() if value))
    if configured := sorted(path for path in files if path.startswith("etc/") and files[path]):
        (tree / "DEBIAN/conffiles").write_text("".join(f"/{path}\n" for path in configured))
    if name == "kubelet":
        (tree / "DEBIAN/postinst").write_text(_ENABLE)
        (tree / "DEBIAN/postinst").chmod(0o755)
    for directory in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    package = folder / f"{name}_{version}-{REVISION}_{ARCHITECTURE}.deb"
    await run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, package])
    shutil.rmtree(tree)
    return package
