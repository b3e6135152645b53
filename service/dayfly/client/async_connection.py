"""The connection of the asynchronous client. Not here: what is requested (async_client.py, async_clusters.py)."""

from __future__ import annotations

from typing import Self, TypeVar, Unpack

import httpx

from dayfly.client import transport as wire
from dayfly.schemas.base import ResponseModel

M = TypeVar("M", bound=ResponseModel)


class AsyncConnection:
    """Sends requests, and reads responses."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(**wire.configuration(url, token), transport=transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _send(self, method: str, path: str, **options: Unpack[wire.RequestOptions]) -> httpx.Response:
        """The response, which says success. Raises ApiError, Unreachable."""
        try:
            response = await self._http.request(method, path, **wire.arguments(options))
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error
        if not response.is_success:
            raise wire.api_error(response)
        return response

    async def _read(self, model: type[M], method: str, path: str, **options: Unpack[wire.RequestOptions]) -> M:
        """The response as a value."""
        return wire.read(model, await self._send(method, path, **options))
