"""What the mirror is made of: the artifacts of the recipe k8s-debian, out of the bakes' cache, and Debian's packages.

Not here: packages (packages.py), images (registry.py).
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dayfly import assets
from dayfly.clock import SystemClock
from dayfly.images.apt_sources import Mirrors
from dayfly.images.artifacts import make_artifact
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.plan import artifact_keys
from dayfly.images.recipe import Artifact, load_base, load_recipe
from dayfly.settings import Settings
from tests.support.debian_programs import extract_packages
from tests.support.lab import REPO
from tests.support.mirror.packages import Programs, make_packages

RECIPE: Final = "k8s-debian"
_BINARIES: Final = "binaries"
_IMAGES: Final = "images"
_PLUGINS: Final = "containernetworking-plugins"
_PLUGINS_VERSION: Final = "1.1.1"
"""Of Debian 12's package."""
_OWN: Final = "tests/support/mirror"
_CRICTL: Final = Artifact(
    script="crictl/build.sh",
    inputs=("crictl", "kubernetes/source.sh"),
    packages=("dpkg-dev", "golang-github-modern-go-reflect2-dev", "golang-go"),
)


@dataclass(frozen=True)
class Kubernetes:
    """Folders of the cache: the recipe's programs and docker-archives. `keys`: the content key of each artifact."""

    version: str
    suite: str
    binaries: Path
    images: Path
    keys: dict[str, str]


@asynccontextmanager
async def kubernetes() -> AsyncIterator[Kubernetes]:
    """The recipe's artifacts, from the bakes' cache or built (ten minutes); no bake removes them during the block.

    Raises BakeFailed, DiskFull.
    """
    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        yield await _artifacts(cache)


@asynccontextmanager
async def kubernetes_packages() -> AsyncIterator[tuple[Kubernetes, tuple[Path, ...]]]:
    """The packages of pkgs.k8s.io made of the recipe's programs; from the cache or made.

    kubectl and the CNI plugins are those of Debian's packages, crictl is built from crictl/main.go.
    Raises BakeFailed, DiskFull.
    """
    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        made = await _artifacts(cache)
        crictl = await _crictl(cache, made.suite)

        async def make(folder: Path) -> None:
            root = folder / "root"
            await extract_packages(made.suite, ["kubernetes-client", _PLUGINS], root)
            programs = Programs(
                kubernetes=made.version,
                kubelet=made.binaries / "kubelet",
                kubeadm=made.binaries / "kubeadm",
                kubectl=root / "usr/bin/kubectl",
                crictl=crictl,
                plugins=root / "usr/lib/cni",
                plugins_version=_PLUGINS_VERSION,
            )
            await make_packages(programs, folder)
            shutil.rmtree(root)

        files = (f"{_OWN}/packages.py", f"{_OWN}/programs.py", f"{_OWN}/crictl")
        key = fingerprint(REPO, made.suite, made.keys[_BINARIES], files=files)
        folder = await cache.get("test-mirror-packages", key, make)
        yield made, tuple(sorted(folder.glob("*.deb")))


async def _artifacts(cache: Cache) -> Kubernetes:
    recipe, root = load_recipe(RECIPE), assets.provisioning()
    suite = load_base(recipe.base).suite
    keys = artifact_keys(suite, recipe.artifacts, root)
    folders: dict[str, Path] = {}
    for name, key in keys.items():
        artifact = recipe.artifacts[name]
        needs = {need: folders[need] for need in artifact.needs}
        make = partial(_make, suite, artifact, needs, root)
        folders[name] = await cache.get(recipe.cache_name(name), key, make) / "out"
    version = recipe.artifacts[_BINARIES].environment["KUBERNETES_VERSION"]
    return Kubernetes(version, suite, folders[_BINARIES], folders[_IMAGES], keys)


async def _make(suite: str, artifact: Artifact, needs: dict[str, Path], root: Path, folder: Path) -> None:
    settings = Settings()
    mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
    await make_artifact(suite, artifact, folder, root=root, needs=needs, mirrors=mirrors)


async def _crictl(cache: Cache, suite: str) -> Path:
    async def make(folder: Path) -> None:
        # An artifact's inputs and the program that enters its build root are below one folder.
        root, provisioning = folder / "inputs", assets.provisioning()
        shutil.copytree(REPO / _OWN / "crictl", root / "crictl")
        (root / "kubernetes").mkdir()
        shutil.copy2(provisioning / "kubernetes/source.sh", root / "kubernetes")
        shutil.copytree(provisioning / "base", root / "base")
        await _make(suite, _CRICTL, {}, root, folder)
        shutil.rmtree(root)

    files = (f"{_OWN}/crictl", "provisioning/kubernetes/source.sh")
    key = fingerprint(REPO, suite, _CRICTL, files=files)
    return await cache.get("test-mirror-crictl", key, make) / "out/crictl"
