# Generated from async_connection.py by `python -m tests.support.unasync`: do not edit.
"""The connection of the synchronous client. Not here: what is requested (sync_client.py, sync_clusters.py)."""

from __future__ import annotations

from typing import Self, TypeVar, Unpack

import httpx

from dayfly.client import transport as wire
from dayfly.schemas.base import ResponseModel

M = TypeVar("M", bound=ResponseModel)


class Connection:
    """Sends requests, and reads responses."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(**wire.configuration(url, token), transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, method: str, path: str, **options: Unpack[wire.RequestOptions]) -> httpx.Response:
        """The response, which says success. Raises ApiError, Unreachable."""
        try:
            response = self._http.request(method, path, **wire.arguments(options))
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error
        if not response.is_success:
            raise wire.api_error(response)
        return response

    def _read(self, model: type[M], method: str, path: str, **options: Unpack[wire.RequestOptions]) -> M:
        """The response as a value."""
        return wire.read(model, self._send(method, path, **options))
