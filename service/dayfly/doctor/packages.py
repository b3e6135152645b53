"""Checks whether this host reaches mirrors of the Debian suites that bakes need, in the same way as a bake.

Not here: the programs that a bake runs (checks.bake_tools).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dayfly.doctor.checks import Check
from dayfly.errors import DayflyError
from dayfly.images.apt import Sources
from dayfly.images.recipe import RootFileSystem, load_any_base, load_recipe, load_toolbox, recipe_names

LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class NeededSuite:
    """A suite, and the recipes that need it; `backports`: a recipe needs packages from its backports, too."""

    suite: str
    backports: bool
    recipes: tuple[str, ...]


FindSources = Callable[[NeededSuite], Awaitable[Sources]]


def needed_suites() -> tuple[NeededSuite, ...]:
    """The suites of all recipes. Raises as load_recipe does."""
    toolbox = load_toolbox()
    needs: dict[str, tuple[bool, set[str]]] = {}
    for name in recipe_names():
        for part in (toolbox, load_any_base(load_recipe(name).base)):
            if part.suite is None:
                continue  # A cloud image with sources of its own.
            backports, recipes = needs.get(part.suite, (False, set()))
            has_backports = isinstance(part, RootFileSystem) and bool(part.backports)
            needs[part.suite] = (backports or has_backports, recipes | {name})
    return tuple(NeededSuite(suite, backports, tuple(sorted(names))) for suite, (backports, names) in needs.items())


async def check_packages(needs: Sequence[NeededSuite], find: FindSources) -> tuple[Check, ...]:
    """One check for each suite. None is a failure, because a host that cannot bake can still run pulled images."""
    return tuple(await asyncio.gather(*(_check(need, find) for need in needs)))


async def _check(need: NeededSuite, find: FindSources) -> Check:
    name, recipes = f"packages of {need.suite}", f"for {', '.join(need.recipes)}"
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            sources = await find(need)
    except TimeoutError:
        advice = "make apt reach its mirrors (apt-get update), or set DAYFLY_DEBIAN_MIRROR to a mirror that it reaches"
        return Check(name, "warn", f"no answer within {LIMIT_SECONDS:.0f} s; needed {recipes}", advice)
    except DayflyError as error:
        return Check(name, "warn", f"no usable mirror; needed {recipes}", error.for_operator)
    found = f"{', '.join(source.release for source in sources.found)} of {sources.origin}, signed by Debian; {recipes}"
    if sources.missing:
        advice = f"no mirror has {', '.join(sources.missing)}: bakes leave it out"
        if any(release.endswith("-security") for release in sources.missing):
            advice += " (DAYFLY_DEBIAN_SECURITY_MIRROR sets a mirror)"
        return Check(name, "warn", found, advice)
    return Check(name, "ok", found)
