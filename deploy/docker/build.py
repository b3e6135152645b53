"""Builds the lab's images, `dayfly/service` and `dayfly/postgres`, on Debian bases by mmdebstrap, without a registry.

build.sh runs this script after it has installed mmdebstrap and an engine; both need root. The images are the same on
every host (base.yaml has the parts), and tagged with a fingerprint of their sources, so a second run builds nothing.
`--base` names another base, which must be the same Debian.
Not here: node images (`dayfly image bake`).
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from dayfly.cli.progress.bake import BakeView
from dayfly.cli.progress.live import Console
from dayfly.clock import SystemClock
from dayfly.concurrency import unwrap_exception_group
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import DayflyError
from dayfly.images.apt_sources import Mirrors
from dayfly.images.cache import Cache
from dayfly.images.container import TAG_LENGTH, remove_former
from dayfly.images.fingerprint import fingerprint
from dayfly.images.node_images import find_image
from dayfly.images.process import run
from dayfly.images.progress import OnLine, Reporter
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs
from dayfly.settings import Settings

REPO: Final = Path(__file__).resolve().parents[2]
HERE: Final = "deploy/docker"
LABEL: Final = "dayfly.lab"
BASE: Final = yaml.safe_load((Path(__file__).parent / "base.yaml").read_text())
PACKAGES: Final[Mapping[str, Sequence[str]]] = BASE["packages"]
LOCK: Final = "deploy/lock/service.txt"
"""Versions and hashes of the service's dependencies."""
DISTRIBUTION: Final = ("pyproject.toml", "README.md", "LICENSE", "service", "migrations", "provisioning")
"""The sources of Dayfly's wheel."""


@dataclass(frozen=True)
class Lab:
    """The context of a build. `base` is the caller's base image, or None."""

    images: DockerImages
    cache: Cache
    reporter: Reporter
    base: str | None
    mirrors: Mirrors

    async def build(self, name: str) -> None:
        """Build dayfly/`name`:latest from the checkout, unless it is up to date."""
        repository = f"dayfly/{name}"
        rootfs = RootFileSystem(suite=BASE["suite"], packages=tuple(PACKAGES[name]))
        ours = (f"{HERE}/pip_for.py", f"{HERE}/base.yaml", LOCK, *DISTRIBUTION) if name == "service" else ()
        sources = (f"{HERE}/{name}", f"{HERE}/build.py", *ours)
        key = fingerprint(REPO, rootfs, self.base, files=sources)
        final = f"{repository}:{key[:TAG_LENGTH]}"
        async with self.cache.alone(f"lab.{name}", partial(self.reporter.waiting, name)):
            image_id = await find_image(self.images, final)
            if image_id is not None:
                self.reporter.cached(name, f"{final} is on the engine")
            else:
                base = self.base or await self._base(name, rootfs)
                await self._image(name, base, final, key)
                image_id = (await self.images.inspect(final)).id
            await self.images.tag(image_id, f"{repository}:latest")
            await remove_former(self.images, repository, label=LABEL, current=image_id)

    async def _base(self, name: str, rootfs: RootFileSystem) -> str:
        """The reference of a base image: Debian with the packages."""
        key = fingerprint(REPO, rootfs, files=(f"{HERE}/trim", "service/dayfly/images/rootfs.py"))
        reference = f"dayfly/{name}-base:{key[:TAG_LENGTH]}"
        if await find_image(self.images, reference) is not None:
            self.reporter.cached(f"{name} base", f"{reference} is on the engine")
            return reference

        async def make(folder: Path) -> None:
            async with self.reporter.phase(f"{name} base") as on_line:
                hook = REPO / HERE / "trim"
                await make_rootfs(rootfs, folder / "rootfs.tar", hook=hook, mirrors=self.mirrors, on_line=on_line)

        folder = await self.cache.get(f"lab.{name}-base", key, make)
        async with self.reporter.phase(f"{name} import"):
            label = f"LABEL {LABEL}={key}"
            made = await self.images.import_rootfs(folder / "rootfs.tar", reference, changes=('CMD ["/bin/sh"]', label))
        await remove_former(self.images, f"dayfly/{name}-base", label=LABEL, current=made)
        return reference

    async def _image(self, name: str, base: str, reference: str, key: str) -> None:
        async with self.cache.scratch() as context:
            await asyncio.to_thread(shutil.copytree, REPO / HERE / name, context, dirs_exist_ok=True)
            if name == "service":
                async with self.reporter.phase("wheels") as on_line:
                    await _make_wheels(context, on_line)
            async with self.reporter.phase(f"{name} image") as on_line:
                await self.images.build(
                    context, reference, arguments={"BASE": base}, labels={LABEL: key}, on_line=on_line
                )


async def _make_wheels(context: Path, on_line: OnLine) -> None:
    """Write Dayfly's wheel to dist/ and its dependencies' to wheels/, with the machine's pip configuration.

    The dependencies are those of the lock. The wheels are for the base's Python and C library, not for this machine's.
    """
    wheels, dist = context / "wheels", context / "dist"
    quiet = ("--disable-pip-version-check", "--no-input")
    # Without pip's isolated build, which would fetch the build's requirements without hashes: .venv has them.
    wheel = ("wheel", *quiet, "--no-deps", "--no-build-isolation", "--wheel-dir", dist, REPO)
    await run([sys.executable, "-m", "pip", *wheel], name="pip wheel", on_line=on_line)
    version, machine = BASE["python"], platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(BASE["glibc"], 4, -1)]
    await run(
        [
            *(sys.executable, REPO / HERE / "pip_for.py", version, "download", *quiet, "--dest", wheels),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", version),
            *(f"--platform={name}" for name in (*platforms, f"manylinux2014_{machine}")),
            *("--require-hashes", "--requirement", REPO / LOCK),
        ],
        name="pip download",
        on_line=on_line,
    )


async def build(base: str | None, names: tuple[str, ...]) -> None:
    """Build all images concurrently; a failure ends the others. SIGTERM removes unfinished files."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    settings, clock = Settings(), SystemClock()
    images = DockerImages(settings.docker_host)
    try:
        with BakeView(Console()) as view:
            async with (
                Cache(settings.cache_dir, clock) as cache,
                unwrap_exception_group(),
                asyncio.TaskGroup() as group,
            ):
                mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
                lab = Lab(images, cache, Reporter(view.show, clock), base, mirrors)
                for name in names:
                    group.create_task(lab.build(name))
    finally:
        await images.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the images of the lab stack (docker-compose.yml).")
    parser.add_argument("--base", help="build on this Debian image instead of a base by mmdebstrap")
    parser.add_argument("names", nargs="*", default=list(PACKAGES), metavar="NAME", help=" or ".join(PACKAGES))
    given = parser.parse_args()
    if unknown := set(given.names) - set(PACKAGES):
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    try:
        asyncio.run(build(given.base, tuple(given.names)))
    except DayflyError as error:
        print(f"error: {error.message}", *error.evidence.values(), sep="\n", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; unfinished files are removed", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
