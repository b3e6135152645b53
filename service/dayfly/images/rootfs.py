"""Debian root file systems, made by mmdebstrap from the machine's own apt sources. Not here: what is done in them.

No mirror's name ends up in what is shipped: the sources are taken out again, but for root file systems that only build.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dayfly.errors import BakeFailed
from dayfly.images.process import SANDBOX, run
from dayfly.images.recipe import RootFileSystem

_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FORMAT: Final = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
_FORWARDED: Final = ("Acquire::Check-", "Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv")
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
    on_line: OnLine | None = None,
) -> None:
    """Make `target` (a folder, or a tar where it ends in .tar) of `what`; `hook` is run with the unpacked folder.

    `building`: it keeps its apt sources, deb-src with them, and is never shipped. Raises BakeFailed, DiskFull.
    """
    sources = await _sources(what.suite, backports=bool(what.backports), deb_src=building)
    clean = 'rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
    options = [f'--customize-hook={shlex.quote(str(hook))} "$1"'] if hook else []
    options.append("--skip=cleanup/apt/lists" if building else f"--customize-hook={clean}")
    if what.backports:
        pin = f"Package: {' '.join(what.backports)}\\nPin: release n={what.suite}-backports\\nPin-Priority: 600\\n"
        options.append(f"""--essential-hook=printf '{pin}' > "$1"/etc/apt/preferences.d/backports""")
    await run(
        [
            *SANDBOX,
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--skip=cleanup/run",  # Folders of ours lie there; a container has no systemd to make them.
            "--dpkgopt=force-unsafe-io",  # What is interrupted is thrown away.
            '--aptopt=APT::Install-Recommends "false"',
            *[f"--aptopt={option}" for option in await _apt_options()],
            *_NO_DOCUMENTS,
            *options,
            f"--include={','.join(what.packages)}",
            what.suite,
            target,
            "-",
        ],
        name="mmdebstrap",
        stdin=sources,
        environment={"TMPDIR": str(target.parent)},
        on_line=on_line,
    )


async def _sources(suite: str, *, backports: bool, deb_src: bool) -> str:
    """Lines for sources.list: what this machine has of `suite`, its backports and sources derived from that."""
    targets = await run(["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"])
    entries = [tuple(line.split("|")) for line in targets.splitlines() if line.count("|") == 2]
    suites = (suite, f"{suite}-updates", f"{suite}-security")
    entries = list(dict.fromkeys(entry for entry in entries if entry[1] in suites))
    main = next((entry for entry in entries if entry[1] == suite and entry[2] == "main"), None)
    if main is None:
        raise BakeFailed(
            f"this machine's apt sources have no `{suite} main`: add it to /etc/apt and run `apt-get update`",
            evidence={"indextargets": targets},
        )
    if backports and f"{suite}-backports" not in {entry[1] for entry in entries}:
        entries.append((main[0], f"{suite}-backports", "main"))
    kinds = ("deb", "deb-src") if deb_src else ("deb",)
    option = f" [signed-by={_KEYRING}]" if _KEYRING.exists() else ""
    return "".join(
        f"{kind}{option} {uri} {release} {component}\n" for kind in kinds for uri, release, component in entries
    )


async def _apt_options() -> list[str]:
    """How this machine reaches its mirrors: proxies, retries, whether it trusts its clock."""
    dump = await run(["apt-config", "dump"])
    return [
        line.removesuffix(";") for line in dump.splitlines() if line.startswith(_FORWARDED) and not line.endswith('"";')
    ]
