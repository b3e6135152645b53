"""Debian root file systems, made by mmdebstrap. Not here: where packages come from (apt.py), what is done in them.

No mirror's name ends up in what is shipped: the sources are taken out again, but for root file systems that only build.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dayfly.images.apt import Sources, find_sources
from dayfly.images.apt_sources import Mirrors
from dayfly.images.process import SANDBOX, run
from dayfly.images.recipe import RootFileSystem

_LOCAL_MIRRORS: Final = "/usr/share/mmdebstrap/hooks/file-mirror-automount"
"""Shows mirrors that are folders of this machine (`file:`) to the root file system while it is made."""
_NO_DOCUMENTS: Final = tuple(
    f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale", "info", "lintian")
)

OnLine = Callable[[str], None]


async def make_rootfs(
    what: RootFileSystem,
    target: Path,
    *,
    hook: Path | None = None,
    building: bool = False,
    mirrors: Mirrors | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Make `target` (a folder, or a tar where it ends in .tar) of `what`; `hook` is run with the unpacked folder.

    `building`: it keeps its apt sources, deb-src with them, and is never shipped. Raises BakeFailed, DiskFull.
    """
    sources = await find_sources(what.suite, backports=bool(what.backports), mirrors=mirrors)
    if on_line is not None:
        for line in _described(sources):
            on_line(line)
    clean = 'rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
    options = [f'--customize-hook={shlex.quote(str(hook))} "$1"'] if hook else []
    options.append("--skip=cleanup/apt/lists" if building else f"--customize-hook={clean}")
    if what.backports:
        pin = f"Package: {' '.join(what.backports)}\\nPin: release n={what.suite}-backports\\nPin-Priority: 600\\n"
        options.append(f"""--essential-hook=printf '{pin}' > "$1"/etc/apt/preferences.d/backports""")
    if any(source.uri.startswith("file:") for source in sources.found):
        options.append(f"--hook-dir={_LOCAL_MIRRORS}")
    await run(
        [
            *SANDBOX,
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--skip=cleanup/run",  # Folders of ours lie there; a container has no systemd to make them.
            "--dpkgopt=force-unsafe-io",  # What is interrupted is thrown away.
            '--aptopt=APT::Install-Recommends "false"',
            *[f"--aptopt={option}" for option in sources.options],
            *_NO_DOCUMENTS,
            *options,
            *([f"--include={','.join(what.packages)}"] if what.packages else []),
            what.suite,
            target,
            "-",
        ],
        name="mmdebstrap",
        stdin=sources.lines(deb_src=building),
        environment={"TMPDIR": str(target.parent)},
        on_line=on_line,
    )


def _described(sources: Sources) -> Iterator[str]:
    yield f"packages: {', '.join(source.release for source in sources.found)} of {sources.origin}"
    for release in sources.missing:
        yield f"packages: no mirror has {release}: made without it"
