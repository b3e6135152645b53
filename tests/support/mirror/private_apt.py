"""An apt with one source that keeps all its files in one folder; this machine's apt is not touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.images.process import run

_FOLDERS: Final = (
    *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"),
    *("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "downloads"),
)


@dataclass(frozen=True)
class PrivateApt:
    """An apt below `root`."""

    root: Path

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    async def update(self) -> str:
        """`apt-get update`; its output. Raises BakeFailed with the output as evidence."""
        return await self._apt("apt-get", "update", "--error-on=any")

    async def download(self, package: str) -> Path:
        """The newest `package`. Raises BakeFailed."""
        await self._apt("apt-get", "download", package)
        (found,) = self.downloads.glob(f"{package}_*.deb")
        return found

    async def show(self, package: str) -> dict[str, str]:
        """The fields of the newest `package` in the repository's index. Raises BakeFailed."""
        text = await self._apt("apt-cache", "show", "--no-all-versions", package)
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    async def _apt(self, *argv: str) -> str:
        environment = {"APT_CONFIG": str(self.root / "apt.conf")}
        return await run(argv, environment=environment, folder=self.downloads)


def make_apt(root: Path, source: str) -> PrivateApt:
    """An apt below the new folder `root` whose only source is the line `source`."""
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(source)
    options = (
        f'Dir "{root}/"',
        f'Dir::State::status "{root}/var/lib/dpkg/status"',
        # No other user may enter the folders of tests.
        'APT::Sandbox::User "root"',
        'Acquire::Retries "0"',
        'Acquire::Languages "none"',
        # The mirror is on this machine.
        'Acquire::http::Proxy "DIRECT"',
    )
    (root / "apt.conf").write_text("".join(f"{option};\n" for option in options))
    return PrivateApt(root)
