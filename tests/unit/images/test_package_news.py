"""Which packages a distribution has newer ones of, by this machine's apt and a repository of the test's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images.package_news import candidates, describe_news
from dayfly.images.process import run


async def repository(folder: Path, *packages: tuple[str, str]) -> str:
    """A source of apt with these packages; `data` is one for all architectures."""
    architecture = (await run(["dpkg", "--print-architecture"])).strip()
    index = "".join(
        f"Package: {name}\nVersion: {version}\nArchitecture: {'all' if name == 'data' else architecture}\n"
        f"Maintainer: nobody\nFilename: ./x.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: x\n\n"
        for name, version in packages
    )
    await asyncio.to_thread(_write, folder / "Packages", index)
    return f"deb [trusted=yes] file:{folder} ./\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)


async def test_apt_says_what_it_would_install(tmp_path: Path) -> None:
    lines = await repository(
        tmp_path / "archive",
        ("zlib1g", "1:1.2.9"),
        ("zlib1g", "1:1.2.13-2"),
        ("older", "1.0"),
        ("data", "2"),
        ("unrelated", "7"),
    )
    installed = {"zlib1g": "1:1.2.13-1", "older": "1.1", "data": "1", "own": "5"}
    newest = await candidates(lines, installed)
    assert newest == {"zlib1g": "1:1.2.13-2", "older": "1.1", "data": "2", "own": "5"}
    assert describe_news(installed, newest) == "data 1 → 2, zlib1g 1:1.2.13-1 → 1:1.2.13-2"
    assert describe_news(installed, newest, most=1) == "data 1 → 2 and 1 more"
    assert describe_news(newest, newest) == ""
    assert await candidates(lines, {}) == {}


async def test_a_source_that_is_gone_fails(tmp_path: Path) -> None:
    with pytest.raises(BakeFailed):
        await candidates(f"deb [trusted=yes] file:{tmp_path}/no-such ./\n", {"zlib1g": "1"})
