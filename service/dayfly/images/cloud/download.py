"""Downloads one large file into a part, and continues the part after an interruption (Range, If-Range).

Not here: whether the content is right (fetch.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httpx

from dayfly.clock import Clock
from dayfly.errors import BaseFetchFailed, BaseTruncated, DayflyError
from dayfly.images.cloud.http import get, reason, shown
from dayfly.images.cloud.part import Part

OnLine = Callable[[str], None]

_REPORT_BYTES: Final = 32 << 20
_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
"""After each attempt in a row that brought nothing; then the download fails."""
_MAX_ATTEMPTS: Final = 50
"""Of a server that sends a little each time."""
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """An attempt ended early. `error`: the failure, if there is no other attempt."""

    def __init__(self, error: DayflyError) -> None:
        super().__init__(error.message)
        self.error = error


async def download(
    http: httpx.AsyncClient, url: str, part: Part, *, limit_bytes: int, clock: Clock, on_line: OnLine
) -> None:
    """Complete `part` with the content of `url`.

    An interrupted attempt is continued by another one, after a pause. Raises BaseFetchFailed, BaseTruncated, DiskFull.
    A full disk and a file above the limit remove the part; after other failures a later download can continue it.
    """
    in_vain = 0
    for _ in range(_MAX_ATTEMPTS):
        before = part.size
        try:
            await _attempt(http, url, part, limit_bytes, on_line)
        except _Interrupted as interrupted:
            in_vain = 0 if part.size > before else in_vain + 1
            if in_vain > len(_PAUSES_SECONDS):
                raise interrupted.error from interrupted
            pause = _PAUSES_SECONDS[max(0, in_vain - 1)]
            on_line(f"{interrupted}; it continues after {part.size >> 20} MiB in {pause:.0f} s")
            await clock.sleep(pause)
        else:
            return
    raise BaseTruncated(f"{shown(url)}: not complete after {_MAX_ATTEMPTS} attempts, {part.size} bytes arrived")


async def _attempt(http: httpx.AsyncClient, url: str, part: Part, limit_bytes: int, on_line: OnLine) -> None:
    start = part.size
    answered = False
    headers = {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator := part.validator(url):
            headers["If-Range"] = validator
    try:
        async with get(http, url, headers) as response:
            answered = True
            if start and response.status_code == 416:
                if _whole_length(response) != start:
                    part.remove()
                    raise _Interrupted(_failed(url, f"has no byte {start}: the part is of another file"))
                return
            _check_status(response, url)
            if start and not _continues(response, start):
                on_line(f"{shown(url)}: the server sends the whole file again")
                part.remove()
                if response.status_code == 206:
                    raise _Interrupted(_failed(url, f"was asked for byte {start} on and sent another range"))
            await _receive(response, url, part, limit_bytes, on_line)
            if (total := _range_total(response)) is not None and part.size < total:
                raise _Interrupted(BaseTruncated(f"{shown(url)}: {part.size} of {total} bytes arrived"))
    except httpx.HTTPError as error:
        kind = BaseTruncated if answered else BaseFetchFailed
        raise _Interrupted(kind(f"{shown(url)} ended after {part.size} bytes: {reason(error)}")) from error


async def _receive(response: httpx.Response, url: str, part: Part, limit_bytes: int, on_line: OnLine) -> None:
    announced = response.headers.get("content-length", "")
    total = part.size + int(announced) if announced.isdecimal() else None
    if total is not None:
        _check_limit(url, total, limit_bytes, part)
        part.require_space(total - part.size)
    part.remember(url, _validator(response))
    part.append(b"")  # The file exists, even if nothing arrives.
    name = shown(url).rpartition("/")[2]
    reported = part.size
    async for chunk in response.aiter_raw():  # As they arrive: larger ones would be lost with the connection.
        _check_limit(url, part.size + len(chunk), limit_bytes, part)
        part.append(chunk)
        if part.size - reported >= _REPORT_BYTES:
            reported = part.size
            on_line(f"{name}: {reported >> 20} MiB" + (f" of {total >> 20} MiB" if total is not None else ""))


def _check_status(response: httpx.Response, url: str) -> None:
    if response.is_success:
        return
    error = _failed(url, f"was answered with status {response.status_code}")
    raise _Interrupted(error) if response.status_code in _TEMPORARY else error


def require_limit(url: str, size: int, limit_bytes: int) -> None:
    """Raise BaseFetchFailed where a file of `size` is too large."""
    if size > limit_bytes:
        raise _failed(url, f"has more than {limit_bytes >> 20} MiB (max_gib of the base)")


def _check_limit(url: str, size: int, limit_bytes: int, part: Part) -> None:
    try:
        require_limit(url, size, limit_bytes)
    except BaseFetchFailed:
        part.remove()
        raise


def _continues(response: httpx.Response, start: int) -> bool:
    """Whether the body begins at byte `start`; a server may send the whole file instead."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    return response.status_code == 206 and found is not None and int(found[1]) == start


def _range_total(response: httpx.Response) -> int | None:
    """The size of the whole file in an answer with a range, which may be shorter than the range that was asked for."""
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("content-range", ""))
    return int(found[1]) if found else None


def _whole_length(response: httpx.Response) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("content-range", ""))
    return int(found[1]) if found else None


def _validator(response: httpx.Response) -> str:
    """For If-Range: a strong ETag, or else the date of the last change."""
    etag = str(response.headers.get("etag", ""))
    return etag if etag.startswith('"') else str(response.headers.get("last-modified", ""))


def _failed(url: str, why: str) -> BaseFetchFailed:
    return BaseFetchFailed(f"{shown(url)} {why}")
