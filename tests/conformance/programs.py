"""The programs and images of the conformance tests: artifacts of the recipe k8s-debian-conformance, cached by content.

Not here: what is built (provisioning/kubernetes/build-conformance.sh, images-conformance.sh).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dayfly import assets
from dayfly.clock import SystemClock
from dayfly.images.apt_sources import Mirrors
from dayfly.images.artifacts import make_artifact
from dayfly.images.cache import Cache
from dayfly.images.host import check_host
from dayfly.images.plan import artifact_keys
from dayfly.images.progress import Report, Reporter
from dayfly.images.recipe import Artifact, Recipe, load_base
from dayfly.settings import Settings
from tests.conformance.lists import read_recipe

KEY_LENGTH: Final = 12
_END_TO_END: Final = "e2e.test"
PROGRAMS: Final = "conformance_programs"
IMAGES: Final = "conformance_images"


@dataclass(frozen=True)
class Programs:
    """`programs` has e2e.test and its kubectl, `images` the docker-archives of the tests' images.

    Records name `key`, which is that of the programs' build: another host builds the same tests as a file of other
    content. Images may change without a change of what the tests ask.
    """

    programs: Path
    images: Path
    key: str

    @classmethod
    def of(cls, folder: Path) -> Programs:
        """Programs that were built elsewhere: their key is the content of e2e.test."""
        programs = folder / "programs"
        with (programs / _END_TO_END).open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(programs, folder / "images", key[:KEY_LENGTH])

    @property
    def end_to_end(self) -> Path:
        return self.programs / _END_TO_END

    @property
    def kubectl(self) -> Path:
        return self.programs / "kubectl"

    def archives(self) -> tuple[Path, ...]:
        return tuple(sorted(self.images.glob("*.tar")))


def artifacts() -> dict[str, Artifact]:
    """The recipe's artifacts that no other recipe has."""
    recipe = read_recipe()
    return {name: recipe.artifacts[name] for name in (PROGRAMS, IMAGES)}


def keys() -> dict[str, str]:
    """The content key of each artifact, each after its needs."""
    return artifact_keys(_suite(read_recipe()), artifacts(), assets.provisioning())


def _suite(recipe: Recipe) -> str:
    return load_base(recipe.base).suite


@contextmanager
def open_programs(settings: Settings, report: Report) -> Iterator[Programs]:
    """As `built`, for synchronous callers."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(stack.enter_async_context(built(settings, report)))
        finally:
            runner.run(stack.aclose())


@asynccontextmanager
async def built(settings: Settings, report: Report) -> AsyncIterator[Programs]:
    """The programs, from the cache or built; no bake removes them from the cache during the block.

    Needs root and mmdebstrap to build. Raises BakeFailed, DiskFull.
    """
    recipe, content = read_recipe(), keys()
    clock = SystemClock()
    reporter = Reporter(report, clock)
    folders: dict[str, Path] = {}
    async with Cache(settings.cache_dir, clock) as cache:
        for name, key in content.items():
            phase, entry = f"artifact {name}", recipe.cache_name(name)
            artifact = recipe.artifacts[name]
            if cache.has(entry, key):
                reporter.cached(phase)
            else:
                check_host()
            needs = {need: folders[need] for need in artifact.needs}
            make = partial(_make, _suite(recipe), artifact, needs, settings, reporter, phase)
            folders[name] = await cache.get(entry, key, make, partial(reporter.waiting, phase)) / "out"
        yield Programs(folders[PROGRAMS], folders[IMAGES], content[PROGRAMS][:KEY_LENGTH])


async def _make(
    suite: str,
    artifact: Artifact,
    needs: dict[str, Path],
    settings: Settings,
    reporter: Reporter,
    phase: str,
    folder: Path,
) -> None:
    mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
    async with reporter.phase(phase) as on_line:
        await make_artifact(
            suite, artifact, folder, root=assets.provisioning(), needs=needs, mirrors=mirrors, on_line=on_line
        )
