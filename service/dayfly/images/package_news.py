"""Which packages of an image its distribution has newer ones of: apt's own choice, from the sources of a bake.

Nothing is installed, and nothing of this machine's packages is read. Not here: when that is looked at, and what follows
(controllers/bakes/rebuilds.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dayfly.errors import BakeFailed
from dayfly.images.apt import find_sources, private_apt
from dayfly.images.apt_sources import Mirrors
from dayfly.images.process import run
from dayfly.images.recipe import Base

_POLICY: Final = re.compile(r"^(\S+):\n +Installed: (\S+)\n +Candidate: (\S+)$", re.MULTILINE)
_INDEX_ONLY: Final = (
    'Acquire::IndexTargets::deb::Translations::DefaultEnabled "false"',
    'Acquire::Languages "none"',
)


async def newest_packages(
    base: Base, installed: Mapping[str, str], mirrors: Mirrors | None = None
) -> Mapping[str, str]:
    """Each of the packages `installed` on an image of `base` → the version that apt would have there now.

    Raises BakeFailed where no mirror serves the suite, with each mirror's answer.
    """
    sources = await find_sources(base.suite, backports=bool(base.backports), mirrors=mirrors)
    return await candidates(sources.lines(), installed, sources.options)


async def candidates(lines: str, installed: Mapping[str, str], options: tuple[str, ...] = ()) -> Mapping[str, str]:
    """As newest_packages, from apt's sources `lines`."""
    if not installed:
        return {}
    architecture = (await run(["dpkg", "--print-architecture"])).strip()
    status = "".join(
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: {architecture}\n"
        "Maintainer: nobody\nDescription: installed\n\n"
        for name, version in installed.items()
    )
    with private_apt(lines, (*_INDEX_ONLY, *options), status=status) as configuration:
        environment = {"APT_CONFIG": str(configuration)}
        await run(["apt-get", "update", "--error-on=any", "--quiet"], environment=environment)
        said = await run(["apt-cache", "policy", *installed], name="apt-cache", environment=environment)
    found = {name: candidate for name, _, candidate in _POLICY.findall(said)}
    if missing := installed.keys() - found.keys():
        raise BakeFailed(f"apt does not say which version of {min(missing)} there is", evidence={"output": said})
    return found


def describe_news(installed: Mapping[str, str], newest: Mapping[str, str], most: int = 10) -> str:
    """`zlib1g 1:1.2 → 1:1.3, … and 3 more`; empty: there is no news."""
    news = [f"{name} {installed[name]} → {version}" for name, version in newest.items() if installed[name] != version]
    more = f" and {len(news) - most} more" if len(news) > most else ""
    return ", ".join(sorted(news)[:most]) + more
