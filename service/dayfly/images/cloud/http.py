"""HTTP requests for bases: redirects that keep TLS, statuses as errors, small texts of bounded size.

Not here: images (download.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from dayfly.errors import BaseFetchFailed
from dayfly.images.apt_sources import without_credentials

_TIMEOUT_SECONDS: Final = 60.0
"""Without a byte."""
_MAX_REDIRECTS: Final = 10
_MAX_TEXT_BYTES: Final = 4 << 20


def client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client with this process's proxies and certificate authorities. `transport`: the one of a test."""
    return httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_SECONDS, follow_redirects=False)


@asynccontextmanager
async def get(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.Response]:
    """The response to a GET after all redirects, its body not read yet; closed at the end of the block.

    Raises BaseFetchFailed for a redirect from https to http and for an invalid URL, and httpx.HTTPError.
    """
    try:
        # The bytes as they are: a length and a range refer to these.
        request = http.build_request("GET", url, headers={"Accept-Encoding": "identity", **(headers or {})})
    except httpx.InvalidURL as error:
        raise BaseFetchFailed(f"{shown(url)} is not a valid URL") from error
    for _ in range(_MAX_REDIRECTS):
        response = await http.send(request, stream=True)
        if response.next_request is None:
            break
        await response.aclose()
        following = response.next_request
        if request.url.scheme == "https" and following.url.scheme != "https":
            raise BaseFetchFailed(f"{shown(url)} redirects from https to {following.url.scheme}, which is refused")
        request = following
    else:
        raise BaseFetchFailed(f"{shown(url)} redirects more than {_MAX_REDIRECTS} times")
    try:
        yield response
    finally:
        await response.aclose()


async def fetch_bytes(http: httpx.AsyncClient, url: str) -> bytes:
    """The content of a small file: an index, checksums, a signature. Raises BaseFetchFailed."""
    if urlsplit(url).scheme == "file":
        return _read(file_path(url))
    content = bytearray()
    try:
        async with get(http, url) as response:
            if not response.is_success:
                raise BaseFetchFailed(f"{shown(url)} was answered with status {response.status_code}")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _MAX_TEXT_BYTES:
                    raise BaseFetchFailed(f"{shown(url)} has more than {_MAX_TEXT_BYTES >> 20} MiB")
    except httpx.HTTPError as error:
        raise BaseFetchFailed(f"{shown(url)} cannot be downloaded: {reason(error)}") from error
    return bytes(content)


def file_path(url: str) -> Path:
    """The path of a `file:` URL."""
    return Path(url2pathname(urlsplit(url).path))


def require_file(path: Path) -> None:
    """Raise BaseFetchFailed where `path` is a device, a pipe or the like: these have no size, and perhaps no end."""
    if path.exists() and not path.is_file():
        raise BaseFetchFailed(f"{path} is not a file")


def shown(url: str) -> str:
    """`url` for messages."""
    return without_credentials(url)


def reason(error: httpx.HTTPError) -> str:
    return without_credentials(str(error)) or type(error).__name__


def _read(path: Path) -> bytes:
    require_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise BaseFetchFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_TEXT_BYTES:
        raise BaseFetchFailed(f"{path} has more than {_MAX_TEXT_BYTES >> 20} MiB")
    return content
