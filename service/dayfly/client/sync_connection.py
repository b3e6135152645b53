# Generated from async_connection.py by `python -m tests.support.unasync`: do not edit.
"""The connection of the synchronous client. Not here: what is requested (sync_client.py, sync_clusters.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar, Unpack

import httpx

from dayfly.client import retries
from dayfly.client import transport as wire
from dayfly.client.errors import ApiError, ClientError
from dayfly.schemas.base import ResponseModel

M = TypeVar("M", bound=ResponseModel)
T = TypeVar("T")

_HOLDS_ENOUGH: Final = frozenset({"too_many_waits", "long_polls_exceeded"})


def sync_pause(seconds: float) -> None:
    time.sleep(seconds)


def sync_retry(
    backoff: retries.Backoff,
    call: Callable[[], T],
    may_repeat: Callable[[ClientError], bool] = retries.may_pass,
) -> T:
    """The result of `call`, repeated while its error allows that and time is left. Raises the last error."""
    while True:
        try:
            result = call()
        except ClientError as error:
            pause = backoff.pause_seconds(error) if may_repeat(error) else None
            if pause is None:
                raise
        else:
            backoff.succeeded()
            return result
        sync_pause(pause)


class Connection:
    """Sends requests, and reads responses."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_over_http: bool | None = None,
        transport: httpx.BaseTransport | None = None,
        ca_file: str | Path | None = None,
        ca_fingerprint: str | None = None,
    ) -> None:
        self._deleted: set[str] = set()
        socket = wire.socket_of(url)
        if socket is not None and transport is None:
            transport = httpx.HTTPTransport(uds=socket)
        configuration, pinned = wire.configuration(url, token, token_over_http, ca_file, ca_fingerprint)
        self._http = httpx.Client(**configuration, transport=transport)
        if pinned is not None:

            def fetch_authority(_request: httpx.Request) -> None:
                pinned.fetch()

            self._http.event_hooks = {"request": [fetch_authority]}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, method: str, path: str, **options: Unpack[wire.RequestOptions]) -> httpx.Response:
        """The response, which says success. Raises ApiError, Unreachable.

        A POST is repeated for a moment, with its key; a DELETE, unless a server may have carried it out.
        """
        options = wire.with_key(method, options)
        repeated = method in {"POST", "DELETE"} and not options.get("once", False)
        backoff = retries.Backoff(retries.REQUEST_SECONDS if repeated else 0.0)
        may_repeat = partial(retries.may_repeat, idempotent=method == "POST")
        return sync_retry(backoff, partial(self._send_once, method, path, options), may_repeat)

    def _read_held(
        self, model: type[M], path: str, query: wire.Query, *, parameter: str, seconds: float, of: str | None = None
    ) -> M:
        """The response to a GET that the server holds for `seconds`, which it reads from the query's `parameter`.

        While the server holds as many responses as it may, or as the team's quota allows, the request is repeated, and
        not longer than `seconds`: a caller's heartbeats go on between its requests.
        """
        backoff, remaining = retries.Backoff(seconds), seconds
        while True:
            held = {**query, parameter: remaining}
            try:
                return self._read(model, "GET", path, query=held, hold_seconds=remaining, of=of)
            except ApiError as error:
                pause = backoff.pause_seconds(error) if error.code in _HOLDS_ENOUGH else None
                if pause is None:
                    raise
            sync_pause(pause)
            remaining = backoff.remaining

    def _send_once(self, method: str, path: str, options: wire.RequestOptions) -> httpx.Response:
        with wire.transport_errors(self._http.base_url):
            response = self._http.request(method, path, **wire.arguments(options))
        wire.as_text(response)
        if not response.is_success:
            raise wire.api_error(response)
        wire.check_cluster(response, path)
        return response

    def _read(self, model: type[M], method: str, path: str, **options: Unpack[wire.RequestOptions]) -> M:
        """The response as a value."""
        return wire.read(model, self._send(method, path, **options), options.get("of"))
