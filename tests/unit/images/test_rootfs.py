"""mmdebstrap's arguments; the result contains nothing of a mirror."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dayfly.images import rootfs
from dayfly.images.apt import Source, Sources
from dayfly.images.apt_sources import Mirrors
from dayfly.images.recipe import RootFileSystem

URI = "http://mirror.invalid/debian"


class Commands:
    """A fake host that records mmdebstrap's arguments."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.sources: list[str] = []
        self.uri, self.missing = URI, ("bookworm-security",)
        self.searched: list[tuple[str, bool, Mirrors | None]] = []

    async def find(self, suite: str, *, backports: bool, mirrors: Mirrors | None) -> Sources:
        self.searched.append((suite, backports, mirrors))
        found = (Source(self.uri, suite), Source(self.uri, f"{suite}-updates"))
        options = ('Acquire::http::Proxy "http://proxy.invalid"',)
        return Sources(found, self.missing, "this machine's apt sources", Path("/keys.gpg"), options)

    async def run(self, argv: Sequence[str | Path], **options: object) -> str:
        self.argv = [str(word) for word in argv]
        self.sources = str(options["stdin"]).splitlines()
        return ""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    monkeypatch.setattr(rootfs, "run", commands.run)
    monkeypatch.setattr(rootfs, "find_sources", commands.find)
    return commands


async def test_the_packages_come_from_what_was_found_with_its_signatures_verified(
    host: Commands, tmp_path: Path
) -> None:
    mirrors = Mirrors(URI)
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm", packages=("curl",)), tmp_path / "r", mirrors=mirrors)
    assert host.searched == [("bookworm", False, mirrors)]
    assert host.sources == [
        f"deb [signed-by=/keys.gpg] {URI} bookworm main",
        f"deb [signed-by=/keys.gpg] {URI} bookworm-updates main",
    ]
    assert '--aptopt=Acquire::http::Proxy "http://proxy.invalid"' in host.argv
    assert "--include=curl" in host.argv
    assert not any("file-mirror" in word for word in host.argv)


async def test_a_root_file_system_without_packages_of_its_own_names_none(host: Commands, tmp_path: Path) -> None:
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r")
    assert not any(word.startswith("--include") for word in host.argv)


async def test_backports_are_searched_and_pinned(host: Commands, tmp_path: Path) -> None:
    what = RootFileSystem(suite="bookworm", packages=("qemu",), backports=("qemu*",))
    await rootfs.make_rootfs(what, tmp_path / "r.tar")
    assert host.searched == [("bookworm", True, None)]
    assert any("release n=bookworm-backports" in word and "Package: qemu*" in word for word in host.argv)


async def test_sources_stay_only_where_something_is_built(host: Commands, tmp_path: Path) -> None:
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r")
    assert any("rm -f" in word and "sources.list" in word for word in host.argv)
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r", building=True)
    assert not any("sources.list" in word for word in host.argv)
    assert f"deb-src [signed-by=/keys.gpg] {URI} bookworm main" in host.sources


async def test_a_mirror_that_is_a_folder_is_shown_to_what_is_made(host: Commands, tmp_path: Path) -> None:
    host.uri = "file:/srv/debian"
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r")
    assert any(word.startswith("--hook-dir=") and word.endswith("file-mirror-automount") for word in host.argv)


async def test_whoever_bakes_is_told_where_packages_come_from_and_what_is_missing(
    host: Commands, tmp_path: Path
) -> None:
    lines: list[str] = []
    await rootfs.make_rootfs(RootFileSystem(suite="bookworm"), tmp_path / "r", on_line=lines.append)
    assert lines == [
        "packages: bookworm, bookworm-updates of this machine's apt sources",
        "packages: no mirror has bookworm-security: made without it",
    ]
