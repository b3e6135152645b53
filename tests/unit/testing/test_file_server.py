"""The mirror's HTTP server: byte ranges for downloads that go on, and the faults that tests ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.mirror.file_server import Asked, FileServer, file_server

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "root/core:/deb").mkdir(parents=True)
    (tmp_path / "root/core:/deb/image").write_bytes(CONTENT)
    (tmp_path / "secret").write_text("x")
    with file_server(tmp_path / "root") as server:
        yield server


@pytest.fixture
def client(server: FileServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


def test_a_whole_file_and_its_parts(client: httpx.Client, server: FileServer) -> None:
    whole = client.get("/core:/deb/image")
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["accept-ranges"] == "bytes"
    rest = client.get("/core:/deb/image", headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert client.get("/core:/deb/image", headers={"Range": f"bytes={len(CONTENT)}-"}).status_code == 416
    assert [one.range for one in server.asked] == [None, "bytes=1000-", f"bytes={len(CONTENT)}-"]
    assert server.asked[0] == Asked("core:/deb/image", None)


def test_a_part_of_another_version_is_answered_with_the_whole(client: httpx.Client) -> None:
    tag = client.get("/core:/deb/image").headers["etag"]
    part = {"Range": "bytes=1000-"}
    assert client.get("/core:/deb/image", headers=part | {"If-Range": tag}).status_code == 206
    assert client.get("/core:/deb/image", headers=part | {"If-Range": '"older"'}).status_code == 200


def test_files_that_are_missing_folders_and_files_outside(client: httpx.Client, server: FileServer) -> None:
    server.missing.add("core:/deb/image")
    for path in ("/core:/deb/image", "/core:/deb", "/nothing", "/%2e%2e/secret"):
        assert client.get(path).status_code == 404
    server.missing.clear()
    assert client.get("/core:/deb/image").status_code == 200


def test_a_connection_that_dies_after_some_bytes(client: httpx.Client, server: FileServer) -> None:
    server.dies_after["core:/deb/image"] = 70_000
    got = bytearray()
    with client.stream("GET", "/core:/deb/image") as response:
        assert int(response.headers["content-length"]) == len(CONTENT)
        with pytest.raises(httpx.RemoteProtocolError):
            read(response, got)
    assert got == CONTENT[:70_000]
    server.dies_after.clear()
    rest = client.get("/core:/deb/image", headers={"Range": f"bytes={len(got)}-"})
    assert got + rest.content == CONTENT


def test_the_server_ends_with_its_block(tmp_path: Path) -> None:
    with file_server(tmp_path) as server:
        url = server.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def read(response: httpx.Response, into: bytearray) -> None:
    for part in response.iter_bytes():
        into.extend(part)
