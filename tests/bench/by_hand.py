"""A cluster made by a bare script: docker's and ssh's commands, in a simple order, without the service.

Containers, image, flags and keys are the service's, so that only the orchestration differs. Not here: the comparison
(orchestration.py).
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import LABEL_IMAGE, image_reference, node_name
from dayfly.domain.cluster.network import API_PORT, ssh_forward_port
from dayfly.domain.cluster.qemu_cmdline import SEED_FILE, START_FILE, boot, start_file
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.cluster.topology import ContainerSpec, Publication, Volume, compute_topology, machine_of
from dayfly.domain.image import ImageManifest
from dayfly.domain.security.kubeconfig import render_kubeconfig
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.tar import archive
from dayfly.steps.guest.guest_seed import seed_file
from dayfly.steps.guest.node_files import node_files

LIMIT_SECONDS = 1800.0
"""Nothing that is measured takes so long; what does has failed."""


class ByHand:
    """One cluster. `folder` is for keys and seeds; use it once: make(), then remove()."""

    def __init__(self, image: str, workers: int, accelerator: Accelerator, folder: Path) -> None:
        self._id = secrets.token_hex(6)
        self._folder = folder
        self._accelerator = accelerator
        self._spec = _spec(image, workers)
        self._topology = compute_topology(
            self._id, self._spec, instance="bench", accelerator=accelerator, publication=Publication()
        )
        self._secrets = new_secrets(self._spec, datetime.now(UTC))
        self._deadline = time.monotonic() + LIMIT_SECONDS

    def make(self) -> None:
        """Returns when all nodes have answered on SSH and, with Kubernetes, are Ready and let pods be made."""
        (self._folder / "key").touch(mode=0o600)
        (self._folder / "key").write_text(self._secrets.user_key.private)
        _docker("run", "--detach", *_flags(self._topology.net))
        _docker("run", "--detach", *_flags(self._topology.registry))
        for node in self._spec.nodes():
            self._start_node(node.index)
        for node in self._spec.nodes():
            self._wait_for_ssh(node.index)
        if self._spec.manifest.kubernetes is not None:
            self._make_kubernetes()

    def remove(self) -> None:
        containers = (*self._topology.nodes, self._topology.registry, self._topology.net)
        volumes = {volume.name for container in containers for volume in container.volumes}
        for argv in (["rm", "--force", "--volumes", *(one.name for one in containers)], ["volume", "rm", *volumes]):
            subprocess.run(["docker", *argv], capture_output=True, timeout=120, check=False)

    def _start_node(self, index: int) -> None:
        container, node = self._topology.node(index), self._spec.nodes()[index - 1]
        seed = self._folder / f"{node.name}.tar"
        seed.write_bytes(seed_file(self._id, node, self._secrets).content)
        start = self._folder / f"{node.name}.start"
        start.write_bytes(start_file(boot(machine_of(self._spec, node, self._accelerator))))
        _docker("create", *_flags(container))
        _docker("cp", str(seed), f"{container.name}:{SEED_FILE}")
        _docker("cp", str(start), f"{container.name}:{START_FILE}")
        _docker("start", container.name)
        port = self._published(ssh_forward_port(index))
        with (self._folder / "known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {self._secrets.host_key.public}\n")

    def _wait_for_ssh(self, index: int) -> None:
        while self._ssh(index, "true").returncode != 0:
            self._pause(f"{node_name(index)} does not answer on SSH", 0.2)

    def _make_kubernetes(self) -> None:
        kubernetes = self._spec.manifest.kubernetes
        assert kubernetes is not None
        for node in self._spec.nodes():
            files = node_files(self._spec, self._secrets, node, emulated=self._accelerator == "tcg")
            self._must(node.index, "tar -xf - -C /", archive(files))
            self._must(node.index, kubernetes.init if node.index == 1 else kubernetes.join)
        endpoint = Endpoint("127.0.0.1", self._published(API_PORT))
        kubeconfig = self._folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(render_kubeconfig("bench", self._secrets.pki, endpoint))
        while not self._usable(kubeconfig):
            self._pause("the nodes do not become Ready", 1.0)

    def _usable(self, kubeconfig: Path) -> bool:
        kubectl = ["kubectl", "--kubeconfig", str(kubeconfig), "--request-timeout", "60s", "get"]
        asked = subprocess.run([*kubectl, "nodes", "--output", "json"], capture_output=True, timeout=120, check=False)
        if asked.returncode != 0:
            return False
        conditions = [
            condition["status"] == "True"
            for node in json.loads(asked.stdout)["items"]
            for condition in node["status"]["conditions"]
            if condition["type"] == "Ready"
        ]
        if len(conditions) < self._spec.node_count or not all(conditions):
            return False
        account = subprocess.run([*kubectl, "serviceaccount", "default"], capture_output=True, timeout=120, check=False)
        return account.returncode == 0

    def _must(self, index: int, command: str, stdin: bytes = b"") -> None:
        done = self._ssh(index, command, stdin)
        if done.returncode != 0:
            raise SystemExit(f"by hand: {command} on {node_name(index)} failed: {done.stderr.decode()[-2000:]}")

    def _ssh(self, index: int, command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        options = (
            "BatchMode=yes",
            "ConnectTimeout=60",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self._folder}/known_hosts",
        )
        return subprocess.run(
            [
                *("ssh", "-F", "/dev/null", "-i", str(self._folder / "key")),
                *("-p", str(self._published(ssh_forward_port(index)))),
                *(word for option in options for word in ("-o", option)),
                *("root@127.0.0.1", command),
            ],
            input=stdin,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def _published(self, port: int) -> int:
        told = _docker("port", self._topology.net.name, f"{port}/tcp")
        return int(told.splitlines()[0].rpartition(":")[2])

    def _pause(self, what: str, seconds: float) -> None:
        if time.monotonic() > self._deadline:
            raise SystemExit(f"by hand: {what}")
        time.sleep(seconds)


def _spec(image: str, workers: int) -> ClusterSpec:
    reference = image_reference(image)
    (told,) = json.loads(_docker("image", "inspect", reference))
    manifest = ImageManifest.model_validate_json(told["Config"]["Labels"][LABEL_IMAGE])
    return ClusterSpec(
        image=reference,
        image_id=told["Id"],
        manifest=manifest,
        control_plane=manifest.control_plane,
        worker=manifest.worker,
        workers=workers,
    )


def _flags(container: ContainerSpec) -> list[str]:
    """Arguments of `docker run` and `docker create`, the same as drivers/docker/container_config.py gives Docker."""
    words = ["--name", container.name, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    words += ["--entrypoint", "", "--log-opt", "max-size=10m", "--log-opt", "max-file=1"]
    words += ["--cpu-shares", str(container.cpu_shares)]
    pairs = (
        *(("--label", f"{name}={value}") for name, value in container.labels.items()),
        *(("--cap-add", capability) for capability in container.capabilities),
        *(("--device", device) for device in container.devices),
        *(("--sysctl", f"{name}={value}") for name, value in container.sysctls.items()),
        *(("--env", f"{name}={value}") for name, value in container.environment.items()),
        *(("--tmpfs", f"{path}:{options}") for path, options in container.tmpfs.items()),
        *(("--mount", _mount(volume)) for volume in container.volumes),
        *(("--publish", f"{container.publication.address}::{port}") for port in container.ports),
    )
    words += [word for pair in pairs for word in pair]
    if container.joins is not None:
        words += ["--network", f"container:{container.joins}"]
    return [*words, container.image, *container.command]


def _mount(volume: Volume) -> str:
    labels = (f"volume-label={name}={value}" for name, value in volume.labels.items())
    mode = ("readonly",) if volume.read_only else ()
    return ",".join(["type=volume", f"src={volume.name}", f"dst={volume.path}", "volume-nocopy", *mode, *labels])


def _docker(*argv: str) -> str:
    words: Sequence[str] = ("docker", *argv)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words[:3])} …: {done.stderr.strip()}")
    return done.stdout.strip()
