"""Fakes of apt, mmdebstrap and mirrors, with apt's own texts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from dayfly.errors import BakeFailed

ABSENT = """\
Err:2 http://mirror.invalid/debian x Release
  404  Not Found [IP: 192.0.2.1 80]
E: The repository 'http://mirror.invalid/debian x Release' does not have a Release file."""
UNREACHABLE = """\
Err:1 http://mirror.invalid/debian x InRelease
  Could not resolve 'mirror.invalid'
E: Failed to fetch http://mirror.invalid/debian/dists/x/InRelease  Could not resolve 'mirror.invalid'
E: Some index files failed to download. They have been ignored, or old ones used instead."""
UNTRUSTED = """\
W: GPG error: http://mirror.invalid x InRelease: The following signatures couldn't be verified: NO_PUBKEY 0123
E: Failed to fetch http://mirror.invalid/dists/x/InRelease  The following signatures couldn't be verified"""


class StandInApt:
    """`run` replaces dayfly.images.process.run. Unserved files are absent."""

    def __init__(self) -> None:
        self.known: tuple[tuple[str, str, str | None], ...] = ()
        self.default: tuple[tuple[str, str], ...] = ()
        self.answers: dict[tuple[str, str], str] = {}
        self.configuration: tuple[str, ...] = ()
        self.credentials = Path("/nowhere")
        self.asked: list[tuple[str, str]] = []
        self.configurations: list[str] = []
        self.started: list[str] = []
        self.mmdebstrap: Callable[..., Awaitable[str]] = self._default

    def has(self, *known: tuple[str, str, str | None]) -> None:
        """The machine's apt sources: URI, suite, and the origin where the lists have been fetched."""
        self.known = known

    def serves(self, uri: str, *releases: str) -> None:
        self.answers |= {(uri, release): "" for release in releases}

    async def run(self, argv: Sequence[str | Path], **options: Any) -> str:
        words = [str(word) for word in argv]
        self.started.append(words[0])
        if words[0] == "mmdebstrap":
            return await self.mmdebstrap(words, **options)
        if words[:2] == ["apt-config", "dump"]:
            return "\n".join(self.configuration)
        if words[:2] == ["apt-config", "shell"]:
            return f"0='{self.credentials}'\n1='/nowhere/'"
        if words[1] == "indextargets":
            fetched = "--no-release-info" not in words
            return _targets([(uri, name, origin if fetched else None) for uri, name, origin in self.known])
        return self._update(Path(options["environment"]["APT_CONFIG"]))

    def _update(self, configuration: Path) -> str:
        self.configurations.append(configuration.read_text())
        line = (configuration.parent / "etc/apt/sources.list").read_text()
        _, keyring, uri, release, component = line.split()
        assert keyring.startswith("[signed-by=/")
        assert component == "main"
        self.asked.append((uri, release))
        if output := self.answers.get((uri, release), ABSENT):
            raise BakeFailed("apt-get ended with exit code 100", evidence={"output": output})
        return ""

    async def _default(self, words: Sequence[str], **_: object) -> str:
        (hook,) = [word for word in words if word.startswith("--setup-hook=")]
        written = re.search(r"> (\S+);", hook)
        assert written is not None
        await asyncio.to_thread(
            Path(written[1]).write_text, _targets([(uri, name, None) for uri, name in self.default])
        )
        raise BakeFailed("mmdebstrap ended with exit code 25")


def _targets(entries: Sequence[tuple[str, str, str | None]]) -> str:
    return "".join(
        f"{uri}/|{name}|main|{origin or '$(ORIGIN)'}|{name if origin else '$(CODENAME)'}\n"
        for uri, name, origin in entries
    )
