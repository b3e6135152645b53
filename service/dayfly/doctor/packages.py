"""Whether the Debian packages that bakes take can be had from here: their suites are looked for as a bake does it.

Not here: the programs that a bake runs (checks.bake_tools).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.doctor.checks import Check
from dayfly.errors import DayflyError
from dayfly.images.apt import Sources
from dayfly.images.recipe import load_base, load_recipe, load_toolbox, recipe_names

LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class NeededSuite:
    """A suite, and the recipes that need it; `backports`: one of them takes packages from its backports, too."""

    suite: str
    backports: bool
    recipes: tuple[str, ...]


FindSources = Callable[[NeededSuite], Awaitable[Sources]]


def needed_suites(root: Path | None = None) -> tuple[NeededSuite, ...]:
    """What all recipes together are made of; `root` is provisioning/. Raises as load_recipe does."""
    toolbox = load_toolbox(root)
    needs: dict[str, tuple[bool, set[str]]] = {}
    for name in recipe_names(root):
        for part in (toolbox, load_base(load_recipe(name, root).base, root)):
            backports, recipes = needs.get(part.suite, (False, set()))
            needs[part.suite] = (backports or bool(part.backports), recipes | {name})
    return tuple(NeededSuite(suite, backports, tuple(sorted(names))) for suite, (backports, names) in needs.items())


async def check_packages(needs: Sequence[NeededSuite], find: FindSources) -> tuple[Check, ...]:
    """One check a suite. A host that cannot bake still runs images that it pulls, so nothing here is a failure."""
    return tuple(await asyncio.gather(*(_check(need, find) for need in needs)))


async def _check(need: NeededSuite, find: FindSources) -> Check:
    name, recipes = f"packages of {need.suite}", f"for {', '.join(need.recipes)}"
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            sources = await find(need)
    except TimeoutError:
        advice = "see that apt reaches its mirrors (apt-get update), or set DAYFLY_DEBIAN_MIRROR to one that it reaches"
        return Check(name, "warn", f"no answer within {LIMIT_SECONDS:.0f} s; needed {recipes}", advice)
    except DayflyError as error:
        return Check(name, "warn", f"cannot be had; needed {recipes}", error.message)
    found = f"{', '.join(source.release for source in sources.found)} of {sources.origin}, signed by Debian; {recipes}"
    if sources.missing:
        advice = f"no mirror has {', '.join(sources.missing)}: bakes do without"
        if any(release.endswith("-security") for release in sources.missing):
            advice += " (DAYFLY_DEBIAN_SECURITY_MIRROR names a mirror)"
        return Check(name, "warn", found, advice)
    return Check(name, "ok", found)
