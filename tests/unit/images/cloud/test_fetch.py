"""Images are fetched into the cache: whole and right, or not at all; what an interruption left is continued."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dayfly import errors
from dayfly.images.cloud.fetch import FOLDER, fetch_image
from dayfly.images.cloud.part import Part
from dayfly.images.cloud_base import CloudBase
from tests.support.clock import FakeClock
from tests.support.cloud_bases import FINGERPRINT, cloud_base, sha256
from tests.support.file_server import Answer, FileServer

CONTENT = bytes(range(256)) * 12_000
"""Almost three MiB."""
MIB = 1 << 20


class Fetcher:
    """Fetches into the cache `folder`; `lines` is the progress."""

    def __init__(self, folder: Path) -> None:
        self.cache_dir = folder
        self.clock = FakeClock()
        self.clock.advance(10_000_000)
        self.lines: list[str] = []

    async def __call__(self, base: CloudBase, transport: httpx.AsyncBaseTransport | None = None) -> Path:
        # A transport of its own: the environment's proxies are not for this machine.
        async with transport or httpx.AsyncHTTPTransport() as used:
            return await fetch_image(
                base,
                root=self.cache_dir,
                cache_dir=self.cache_dir,
                clock=self.clock,
                on_line=self.lines.append,
                transport=used,
            )

    def left(self) -> list[str]:
        """The endings of all files in the cache."""
        names = [path.name for path in (self.cache_dir / FOLDER).iterdir() if path.name != "locks"]
        return sorted(name.partition(".")[2] for name in names)


@pytest.fixture
def fetch(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "cache")


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer(CONTENT).serving() as server:
        yield server


def base_of(server: FileServer, **changes: Any) -> CloudBase:
    return cloud_base(**{"url": server.url, "checksum": sha256(CONTENT)} | changes)


async def test_an_image_is_downloaded_once_and_cannot_be_written(fetch: Fetcher, server: FileServer) -> None:
    image = await fetch(base_of(server))
    assert image == fetch.cache_dir / FOLDER / f"{sha256(CONTENT).replace(':', '-')}.img"
    assert image.read_bytes() == CONTENT
    assert image.stat().st_mode & 0o777 == 0o444
    assert await fetch(base_of(server)) == image
    assert len(server.requests) == 1
    assert fetch.left() == ["img"]


async def test_the_same_image_from_another_address_is_not_downloaded(fetch: Fetcher, server: FileServer) -> None:
    image = await fetch(base_of(server))
    assert await fetch(cloud_base(url="https://mirror.invalid/x.qcow2", checksum=sha256(CONTENT))) == image


async def test_sha_512(fetch: Fetcher, server: FileServer, tmp_path: Path) -> None:
    checksum = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    assert (await fetch(base_of(server, checksum=checksum))).read_bytes() == CONTENT


async def test_a_server_that_dies_half_way_is_asked_for_the_rest(fetch: Fetcher, server: FileServer) -> None:
    server.answers = [Answer(cut=2 * MIB), Answer(status=503), Answer(cut=MIB // 2)]
    assert (await fetch(base_of(server))).read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={2 * MIB}-", f"bytes={2 * MIB}-", f"bytes={2 * MIB + MIB // 2}-"]
    assert [request.get("if-range") for request in server.requests] == [None, '"one"', '"one"', '"one"']
    assert fetch.clock.slept == [1.0, 1.0, 1.0]
    assert any("continues after 2 MiB in 1 s" in line for line in fetch.lines)


async def test_a_server_that_dies_each_time_fails_the_download_and_the_next_one_continues(
    fetch: Fetcher, server: FileServer
) -> None:
    server.answers = [Answer(cut=MIB), *[Answer(cut=0)] * 5]
    with pytest.raises(errors.BaseTruncated, match=f"ended after {MIB} bytes") as failed:
        await fetch(base_of(server))
    assert failed.value.code == "base_truncated"
    assert fetch.clock.slept == [1.0, 1.0, 2.0, 4.0, 8.0]
    assert fetch.left() == ["part", "part.json"]
    assert (await fetch(base_of(server))).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={MIB}-"
    assert fetch.left() == ["img"]


async def test_a_cancelled_download_is_continued(fetch: Fetcher, server: FileServer) -> None:
    server.answers = [Answer(cut=MIB)]

    class Cancels(FakeClock):
        async def sleep(self, seconds: float) -> None:
            raise asyncio.CancelledError

    fetch.clock = Cancels()
    with pytest.raises(asyncio.CancelledError):
        await fetch(base_of(server))
    fetch.clock = FakeClock()
    assert (await fetch(base_of(server))).read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={MIB}-"]


async def test_an_image_that_changed_meanwhile_is_sent_whole(fetch: Fetcher, server: FileServer) -> None:
    server.answers = [Answer(cut=MIB), *[Answer(cut=0)] * 5]
    old = base_of(server, checksum=sha256(b"other"))
    with pytest.raises(errors.BaseTruncated):
        await fetch(old)
    server.content, server.etag = b"other", '"two"'
    assert (await fetch(old)).read_bytes() == b"other"


async def test_a_part_of_another_file_costs_one_more_download(fetch: Fetcher, server: FileServer) -> None:
    base = base_of(server)
    folder = fetch.cache_dir / FOLDER
    folder.mkdir(parents=True)
    wrong = folder / f"{sha256(CONTENT).replace(':', '-')}.part"
    wrong.write_bytes(b"x" * MIB)
    os.utime(wrong, (fetch.clock.now().timestamp(),) * 2)
    assert (await fetch(base)).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={MIB}-", ""]
    wrong.write_bytes(b"x" * (len(CONTENT) + 1))
    (folder / f"{sha256(CONTENT).replace(':', '-')}.img").unlink()
    os.utime(wrong, (fetch.clock.now().timestamp(),) * 2)
    assert (await fetch(base)).read_bytes() == CONTENT
    assert fetch.left() == ["img"]


async def test_a_part_that_is_the_whole_file_needs_no_byte_more(fetch: Fetcher, server: FileServer) -> None:
    folder = fetch.cache_dir / FOLDER
    folder.mkdir(parents=True)
    part = folder / f"{sha256(CONTENT).replace(':', '-')}.part"
    part.write_bytes(CONTENT)
    os.utime(part, (fetch.clock.now().timestamp(),) * 2)
    assert (await fetch(base_of(server))).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("answer", [Answer(ignores_range=True), Answer(shift=7)])
async def test_a_wrong_range_is_not_appended(fetch: Fetcher, server: FileServer, answer: Answer) -> None:
    server.answers = [Answer(cut=MIB), answer]
    assert (await fetch(base_of(server))).read_bytes() == CONTENT


async def test_a_server_that_sends_less_than_the_range_is_asked_again(fetch: Fetcher, server: FileServer) -> None:
    server.answers = [Answer(cut=MIB), Answer(most=MIB)]
    assert (await fetch(base_of(server))).read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={MIB}-", f"bytes={2 * MIB}-"]


async def test_another_content_is_refused_and_removed(fetch: Fetcher, server: FileServer) -> None:
    server.content = CONTENT[:-1]
    with pytest.raises(errors.BaseContentDiffers) as refused:
        await fetch(base_of(server))
    assert refused.value.code == "base_content_differs"
    assert refused.value.message == (
        f"{server.url} ({len(CONTENT) - 1} bytes) has the checksum {sha256(CONTENT[:-1])}; expected: {sha256(CONTENT)}"
    )
    assert fetch.left() == []


async def test_an_empty_answer_is_another_content(fetch: Fetcher, server: FileServer) -> None:
    server.content = b""
    with pytest.raises(errors.BaseContentDiffers, match="0 bytes"):
        await fetch(base_of(server))


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_missing_image_is_not_asked_for_again(fetch: Fetcher, server: FileServer, status: int) -> None:
    server.answers = [Answer(status=status)]
    with pytest.raises(errors.BaseFetchFailed, match=f"disk.qcow2 was answered with status {status}") as failed:
        await fetch(base_of(server))
    assert failed.value.code == "base_fetch_failed"
    assert len(server.requests) == 1
    assert fetch.left() == []


async def test_a_server_that_is_not_there(fetch: Fetcher, server: FileServer) -> None:
    base = base_of(server)
    async with FileServer(b"").serving() as gone:
        url = gone.url
    with pytest.raises(errors.BaseFetchFailed, match="ended after 0 bytes"):
        await fetch(base.model_copy(update={"url": url}))
    assert fetch.clock.slept == [1.0, 2.0, 4.0, 8.0]


async def test_an_image_above_the_limit_is_not_downloaded(fetch: Fetcher, server: FileServer) -> None:
    base = base_of(server).model_copy(update={"max_gib": 0})
    with pytest.raises(errors.BaseFetchFailed, match="has more than 0 MiB"):
        await fetch(base)
    assert fetch.left() == []


async def test_a_disk_with_too_little_room_is_noticed_before_the_download(
    fetch: Fetcher, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": MIB}))
    with pytest.raises(errors.DiskFull, match="has 1 MiB of free space; the image needs 2 MiB more"):
        await fetch(base_of(server))
    assert fetch.left() == []


async def test_a_disk_that_becomes_full_keeps_nothing(
    fetch: Fetcher, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real: Callable[..., Any] = Path.open

    def full(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.suffix == ".part" and "a" in str(arguments):
            writes.append(1)
            if len(writes) > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(errors.DiskFull) as failed:
        await fetch(base_of(server))
    assert failed.value.code == "disk_full"
    assert fetch.left() == []


async def test_a_redirect_to_http_is_refused_and_one_to_https_followed(fetch: Fetcher) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        match str(request.url):
            case "https://lab.invalid/images/disk.qcow2":
                return httpx.Response(302, headers={"Location": "https://mirror.invalid/disk.qcow2"})
            case "https://mirror.invalid/disk.qcow2":
                return httpx.Response(200, stream=httpx.ByteStream(CONTENT))
            case "https://lab.invalid/bad":
                return httpx.Response(302, headers={"Location": "http://mirror.invalid/disk.qcow2"})
            case _:
                return httpx.Response(302, headers={"Location": str(request.url)})

    transport = httpx.MockTransport(answer)
    with pytest.raises(errors.BaseFetchFailed, match="redirects from https to http, which is refused"):
        await fetch(cloud_base(url="https://lab.invalid/bad"), transport)
    with pytest.raises(errors.BaseFetchFailed, match="redirects more than 10 times"):
        await fetch(cloud_base(url="https://lab.invalid/loop"), transport)
    image = await fetch(cloud_base(checksum=sha256(CONTENT)), transport)
    assert image.read_bytes() == CONTENT


async def test_a_message_has_no_password(fetch: Fetcher) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404))
    with pytest.raises(errors.BaseFetchFailed) as failed:
        await fetch(cloud_base(url="https://me:secret@lab.invalid/disk.qcow2"), transport)
    assert "secret" not in failed.value.message + "".join(fetch.lines)


async def test_a_local_file_is_copied(fetch: Fetcher, tmp_path: Path) -> None:
    source = tmp_path / "a disk.qcow2"
    source.write_bytes(CONTENT)
    image = await fetch(cloud_base(url=source.as_uri(), checksum=sha256(CONTENT)))
    assert image.read_bytes() == CONTENT
    with pytest.raises(errors.BaseContentDiffers, match=r"a%20disk\.qcow2"):
        await fetch(cloud_base(url=source.as_uri(), checksum=sha256(b"other")))
    with pytest.raises(errors.BaseFetchFailed, match=r"gone\.qcow2 cannot be copied: No such file or directory"):
        await fetch(cloud_base(url=(tmp_path / "gone.qcow2").as_uri()))
    assert fetch.left() == ["img"]


@pytest.mark.parametrize("name", ["pipe", "folder", "zeros"])
async def test_a_local_path_that_is_no_file_is_refused(fetch: Fetcher, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zeros").symlink_to("/dev/zero")
    url = (tmp_path / name).as_uri()
    with pytest.raises(errors.BaseFetchFailed, match=f"{name} is not a file"):
        await fetch(cloud_base(url=url))
    assert fetch.left() == []
    signed = {"url": url, "key": "keys/lab.asc", "fingerprint": FINGERPRINT}
    with pytest.raises(errors.BaseFetchFailed, match=f"{name} is not a file"):
        await fetch(cloud_base(checksum=None, signed_checksums=signed))


async def test_an_address_that_is_none_is_refused(fetch: Fetcher) -> None:
    with pytest.raises(errors.BaseFetchFailed, match="is not a valid URL"):
        await fetch(cloud_base(url="https://lab.invalid:disk/images/disk.qcow2"))


async def test_files_that_another_bake_removes_meanwhile_do_no_harm(
    fetch: Fetcher, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await fetch(base_of(server))
    real = Path.iterdir

    def listed(path: Path) -> Iterator[Path]:
        yield path / "gone.part"
        yield from real(path)

    monkeypatch.setattr(Path, "iterdir", listed)
    assert await fetch(base_of(server)) == image


async def test_old_parts_and_unused_images_are_removed(fetch: Fetcher, server: FileServer) -> None:
    day = 86_400.0
    used = await fetch(base_of(server))
    folder = used.parent
    ages = {"a.part": 6, "b.part": 8, "b.part.json": 8, "c.img": 29, "d.img": 31, "e.txt": 99}
    for name, days in ages.items():
        (folder / name).write_text("")
        os.utime(folder / name, (fetch.clock.now().timestamp() - days * day,) * 2)
    await fetch(base_of(server))
    assert {path.name for path in folder.iterdir()} == {"locks", used.name, "a.part", "c.img", "e.txt"}
    fetch.clock.advance(29 * day)
    await fetch(base_of(server))
    fetch.clock.advance(29 * day)
    await fetch(base_of(server))
    assert len(server.requests) == 1, "each use makes an image young again"


async def test_two_bakes_download_one_image_once(fetch: Fetcher, server: FileServer) -> None:
    first, second = await asyncio.gather(fetch(base_of(server)), fetch(base_of(server)))
    assert first == second
    assert len(server.requests) == 1


def test_a_note_that_is_broken_is_no_validator(tmp_path: Path) -> None:
    part = Part(tmp_path / "x.part")
    assert part.validator("u") == ""
    for text in ("", "[]", '{"url": "other", "validator": "v"}'):
        (tmp_path / "x.part.json").write_text(text)
        assert part.validator("u") == ""
    part.remember("u", "v")
    assert part.validator("u") == "v"
