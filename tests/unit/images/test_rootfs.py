"""Where packages come from: this machine's apt, and nothing of it in what is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import rootfs
from dayfly.images.recipe import RootFileSystem

TARGETS = """\
http://mirror.invalid/debian/|bookworm|main
http://mirror.invalid/debian/|bookworm-updates|main
http://mirror.invalid/security/|bookworm-security|main
http://mirror.invalid/debian/|bookworm|main
http://other.invalid/|stable|main
"""


class Commands:
    """Stands for the host: remembers what mmdebstrap was asked."""

    def __init__(self, targets: str) -> None:
        self.targets = targets
        self.argv: list[str] = []
        self.sources: list[str] = []

    async def run(self, argv: Sequence[str | Path], **options: object) -> str:
        if argv[0] == "apt-get":
            return self.targets
        if argv[0] == "apt-config":
            return 'Acquire::http::Proxy "http://proxy.invalid";\nAcquire::http "";\nDir "/";\n'
        self.argv = [str(word) for word in argv]
        self.sources = str(options["stdin"]).splitlines()
        return ""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(TARGETS)
    monkeypatch.setattr(rootfs, "run", commands.run)
    monkeypatch.setattr(rootfs, "_KEYRING", Path("/nowhere"))
    return commands


async def test_the_suite_comes_from_the_machine_with_updates_and_security(host: Commands, tmp_path: Path) -> None:
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm", packages=("curl",)), tmp_path / "r")
    assert host.sources == [
        "deb http://mirror.invalid/debian/ bookworm main",
        "deb http://mirror.invalid/debian/ bookworm-updates main",
        "deb http://mirror.invalid/security/ bookworm-security main",
    ]
    assert '--aptopt=Acquire::http::Proxy "http://proxy.invalid"' in host.argv
    assert not any("Dir" in word for word in host.argv)


async def test_backports_are_derived_and_pinned(host: Commands, tmp_path: Path) -> None:
    what = RootFileSystem(suite="bookworm", packages=("qemu",), backports=("qemu*",))
    await rootfs.make_rootfs(what, tmp_path / "r.tar")
    assert "deb http://mirror.invalid/debian/ bookworm-backports main" in host.sources
    assert any("release n=bookworm-backports" in word and "Package: qemu*" in word for word in host.argv)


async def test_sources_stay_only_where_something_is_built(host: Commands, tmp_path: Path) -> None:
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r")
    assert any("rm -f" in word and "sources.list" in word for word in host.argv)
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r", building=True)
    assert not any("sources.list" in word for word in host.argv)
    assert "deb-src http://mirror.invalid/debian/ bookworm main" in host.sources


async def test_a_machine_without_the_suite_is_told_what_to_do(host: Commands, tmp_path: Path) -> None:
    with pytest.raises(BakeFailed, match=r"trixie main.*apt-get update"):
        await rootfs.make_rootfs(RootFileSystem(suite="trixie"), tmp_path / "r")
