"""The mirror's packages and registry, of the programs and images that the recipe k8s-debian compiles. No VM.

With --long only: no bake of the suite uses the mirror yet, and its programs take minutes to build.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from dayfly.errors import BakeFailed
from dayfly.images import process
from dayfly.images.apt import find_sources
from tests.support.mirror.entered import entered
from tests.support.mirror.kubernetes_mirror import KubernetesMirror, kubernetes_mirror
from tests.support.mirror.packages import NAMES, minor_of
from tests.support.mirror.private_apt import make_apt
from tests.support.mirror.programs import Kubernetes, kubernetes, kubernetes_packages
from tests.support.mirror.registry import Registry, kubernetes_registry, upstream_path

pytestmark = pytest.mark.long

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Kubernetes, tuple[Path, ...]]]:
    with entered(kubernetes_packages()) as made:
        yield made


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with entered(kubernetes_registry()) as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=registry.url, trust_env=False) as client:
        yield client


def run(*argv: str | Path, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_packages_programs_run(made: tuple[Kubernetes, tuple[Path, ...]], tmp_path: Path) -> None:
    parts, packages = made
    for package in packages:
        run("dpkg-deb", "--extract", package, tmp_path)
    assert tuple(run("dpkg-deb", "--field", package, "Package").strip() for package in packages) == NAMES
    assert run(tmp_path / "usr/bin/kubeadm", "version", "--output=short").strip() == parts.version
    assert run(tmp_path / "usr/bin/kubelet", "--version").strip() == f"Kubernetes {parts.version}"
    assert parts.version in run(tmp_path / "usr/bin/kubectl", "version", "--client")
    plugins = {path.name for path in (tmp_path / "opt/cni/bin").iterdir()}
    assert {"bridge", "host-local", "loopback", "portmap"} <= plugins
    versions = json.loads(run(tmp_path / "opt/cni/bin/bridge", CNI_COMMAND="VERSION"))
    assert "0.4.0" in versions["supportedVersions"]
    nowhere = f"unix://{tmp_path}/nowhere"
    assert "nowhere" in run(tmp_path / "usr/bin/crictl", "-timeout=1s", "-r", nowhere, "info", code=1)


async def test_apt_fetches_them_with_the_published_key(tmp_path: Path) -> None:
    async with kubernetes_mirror(tmp_path / "mirror") as mirror:
        apt = make_apt(tmp_path / "apt", source(mirror))
        await apt.update()
        for path in mirror.repository.packages():
            name = Path(path).name.partition("_")[0]
            package = await apt.download(name)
            assert package.read_bytes() == (mirror.repository.folder / path).read_bytes()
        assert (await apt.show("kubelet"))["Version"] == f"{mirror.version.removeprefix('v')}-1.1"


async def test_apt_refuses_a_forged_mirror(tmp_path: Path) -> None:
    async with kubernetes_mirror(tmp_path / "mirror", forged=True) as mirror:
        with pytest.raises(BakeFailed, match="apt-get"):
            await make_apt(tmp_path / "apt", source(mirror)).update()


async def test_debian_installs_them(tmp_path: Path) -> None:
    async with kubernetes_mirror(tmp_path / "mirror") as mirror, kubernetes() as made:
        sources = await find_sources(made.suite)
        # apt's own user may not enter the folders of tests.
        options = [f"--aptopt={option}" for option in (*sources.options, 'APT::Sandbox::User "root"')]
        argv = ["mmdebstrap", "--variant=apt", "--mode=root", "--include=kubeadm,kubelet,kubectl", *options]
        root = tmp_path / "root"
        lines = sources.lines() + source(mirror)
        await process.run([*process.SANDBOX, *argv, made.suite, root, "-"], stdin=lines)
    assert run("chroot", root, "kubeadm", "version", "--output=short").strip() == made.version
    assert (root / "opt/cni/bin/bridge").exists()
    assert (root / "etc/systemd/system/multi-user.target.wants/kubelet.service").is_symlink()


def source(mirror: KubernetesMirror) -> str:
    return f"deb [signed-by={mirror.key}] {mirror.packages}/{minor_of(mirror.version)}/deb/ /\n"


def test_the_registry_has_all_images_that_kubeadm_pulls(registry: Registry, client: httpx.Client) -> None:
    wanted = {upstream_path(reference) for reference in registry.wanted}
    assert {name.rpartition(":")[0] for name in wanted} == {
        *("coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "pause"),
        "e2e-test-images/busybox",
    }
    assert set(client.get("/v2/_catalog").json()["repositories"]) == {name.rpartition(":")[0] for name in wanted}
    for name in wanted:
        config, layers = pull(client, name)
        assert config["architecture"] == "amd64"
        assert len(config["rootfs"]["diff_ids"]) == len(layers)


def test_the_registry_refuses_a_push(client: httpx.Client) -> None:
    assert client.post("/v2/pause/blobs/uploads/").status_code == 405


def test_the_replacement_of_core_dns_starts(registry: Registry, client: httpx.Client, tmp_path: Path) -> None:
    (name,) = (one for one in map(upstream_path, registry.wanted) if one.startswith("coredns"))
    config, layers = pull(client, name)
    for layer in layers:
        with tarfile.open(fileobj=BytesIO(layer)) as tar:
            tar.extractall(tmp_path, filter="tar")
    entrypoint = config["config"]["Entrypoint"]
    assert run("chroot", tmp_path, *entrypoint[:-1], "-n", entrypoint[-1]) == ""
    # The server has no library that the image lacks.
    assert "-resolv-conf" in run("chroot", tmp_path, "/dayfly-dns", "-help")
    assert (tmp_path / "status/health").read_text() == "OK"


def pull(client: httpx.Client, name: str) -> tuple[dict[str, Any], list[bytes]]:
    """The configuration and the layers of an image; their digests are checked."""
    repository, _, tag = name.rpartition(":")
    manifest = client.get(f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
    assert manifest.status_code == 200, name
    described = manifest.json()
    blobs = []
    for one in (described["config"], *described["layers"]):
        blob = client.get(f"/v2/{repository}/blobs/{one['digest']}").content
        assert one["digest"] == f"sha256:{hashlib.sha256(blob).hexdigest()}"
        blobs.append(blob)
    return json.loads(blobs[0]), blobs[1:]
