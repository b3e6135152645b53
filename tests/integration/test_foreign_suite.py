"""A root file system of a Debian suite that the machine's apt sources lack, from the machine's mirror.

apt gets its own configuration, so that Debian 12 and Debian 13 both have one suite and lack the other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import apt
from dayfly.images.apt import Sources, apt_options, default_entries, find_sources, machine_entries
from dayfly.images.apt_sources import Entry, Mirrors, without_credentials
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs

SUITES: Final = ("bookworm", "trixie")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """apt fetches as its own user, which cannot read pytest's folders."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


class OwnApt:
    """This machine's apt as far as it reaches mirrors, with apt sources that a test writes."""

    def __init__(self, folder: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        self._sources = folder / "sources.list"
        (folder / "lists/partial").mkdir(parents=True)
        own = (
            *(f'Dir::Etc::sourcelist "{self._sources}"', f'Dir::Etc::sourceparts "{folder}/none"'),
            f'Dir::State::lists "{folder}/lists/"',
        )
        (folder / "apt.conf").write_text("".join(f"{option};\n" for option in (*own, *options)))
        self._sources.touch()
        monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))

    def has(self, *lines: str) -> None:
        self._sources.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
async def mirror() -> str:
    """A mirror of Debian that this machine uses."""
    return next(entry.uri for entry in await machine_entries() if not entry.release.endswith("-security"))


@pytest.fixture
async def own(mirror: str, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnApt]:
    options = await apt_options()
    temporary = short_folder / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield OwnApt(short_folder, options, monkeypatch)
    assert not list(temporary.glob("dayfly-apt-*"))


async def test_the_suite_comes_from_the_mirror_of_the_machines_own(own: OwnApt, mirror: str, tmp_path: Path) -> None:
    foreign, here = SUITES
    own.has(f"deb {mirror} {here} main")
    assert {entry.release for entry in await machine_entries()} == {here}
    lines: list[str] = []
    target = tmp_path / "rootfs"
    await make_rootfs(RootFileSystem(suite=foreign), target, on_line=lines.append)
    try:
        assert f"VERSION_CODENAME={foreign}" in (target / "etc/os-release").read_text().splitlines()
        assert lines[0].startswith(f"packages: {foreign}, {foreign}-updates")
        assert lines[0].endswith("this machine's apt sources")
        assert not [path for path in (target / "etc/apt").rglob("*") if path.suffix in {".list", ".sources"}]
    finally:
        shutil.rmtree(target)


@pytest.mark.parametrize("suite", SUITES)
async def test_backports_and_both_ways_of_writing_sources_are_found(own: OwnApt, mirror: str, suite: str) -> None:
    (here,) = set(SUITES) - {suite}
    own.has(f"deb [arch=amd64,arm64] {mirror}/ {here} main contrib", "deb cdrom:[Debian]/ trixie main")
    sources = await find_sources(suite, backports=True)
    assert [source.release for source in sources.found if "-security" not in source.release] == [
        *(suite, f"{suite}-updates", f"{suite}-backports"),
    ]
    assert {source.uri for source in sources.found if "-security" not in source.release} == {mirror}


async def test_signatures_are_verified_with_debians_keys_alone(
    own: OwnApt, mirror: str, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.has(f"deb [trusted=yes] {mirror} {SUITES[0]} main")
    assert (await find_sources(SUITES[0])).found[0].uri == mirror
    nobodys = short_folder / "nobodys.gpg"
    nobodys.touch()
    monkeypatch.setattr(apt, "find_keyring", lambda: nobodys)
    with pytest.raises(BakeFailed, match=r"no key of .*nobodys\.gpg has signed it|nobodys\.gpg"):
        await find_sources(SUITES[0], mirrors=Mirrors(mirror))


async def test_a_mirror_that_nobody_listens_at_is_said_to_be_out_of_reach(own: OwnApt) -> None:
    with pytest.raises(BakeFailed, match=r"127\.0\.0\.1.*Acquire::http::Proxy.*DAYFLY_DEBIAN_MIRROR"):
        await find_sources(SUITES[0], mirrors=Mirrors("http://127.0.0.1:9/debian"))
    with pytest.raises(BakeFailed, match=r"the mirror does not have it; set DAYFLY_DEBIAN_MIRROR"):
        await find_sources(SUITES[0], mirrors=Mirrors("file:/nowhere/debian"))


async def test_without_any_debian_mmdebstraps_own_sources_serve(
    own: OwnApt, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmdebstrap prints its default mirrors; the test does not need to reach them."""
    own.has()
    assert await machine_entries() == ()
    entries = await default_entries(SUITES[0])
    assert [entry.release for entry in entries][:2] == [SUITES[0], f"{SUITES[0]}-updates"]
    assert len({entry.uri for entry in entries}) > 1

    async def reachable(suite: str) -> tuple[Entry, ...]:
        return tuple(Entry(mirror, entry.release) for entry in entries if not entry.release.endswith("-security"))

    monkeypatch.setattr(apt, "default_entries", reachable)
    sources: Sources = await find_sources(SUITES[0], backports=True)
    assert sources.origin == "mmdebstrap's default"
    assert f"deb-src [signed-by={sources.keyring}] {without_credentials(mirror)} {SUITES[0]}-backports main" in (
        without_credentials(sources.lines(deb_src=True))
    )
