"""Connections to receivers of webhooks: one look-up of a name for a call, and connections to allowed addresses only.

What is checked is the address that the connection goes to, so a name whose address changes between the check and the
connection (DNS rebinding) gains nothing. TLS still verifies the name. Not here: the rule (domain/security/).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpcore

from dayfly.domain.security.webhook_addresses import Network, may_be_called
from dayfly.errors import WebhookAddressForbidden, WebhookUnreachable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a host. Raises OSError."""

_MOST_ADDRESSES: Final = 4
"""Addresses of one name that a connection is tried to."""
CONNECT_SECONDS: Final = 3.0
"""For each but the last: an address that does not answer leaves time for the next within a call's."""
_LOOK_UPS: Final = ThreadPoolExecutor(64, thread_name_prefix="webhook-dns")
"""Threads of their own, as many as a process makes calls: a name server that does not answer holds up nothing else."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """As the machine's resolver has it, in its order."""

    def look_up() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    try:
        return await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    except UnicodeError as error:
        raise OSError(f"not a host name: {host}") from error


class AllowedAddresses(httpcore.AsyncNetworkBackend):
    """Connects to public addresses and to those of `allowed`, whatever the name."""

    def __init__(
        self, allowed: Sequence[Network], resolve: Resolve = resolve, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        self._allowed, self._resolve, self._seconds = allowed, resolve, connect_seconds
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise WebhookUnreachable(f"{host} has no address") from error
        addresses = [address for address in found if may_be_called(address, self._allowed)][:_MOST_ADDRESSES]
        if not addresses:
            raise WebhookAddressForbidden(
                f"{host} has no public address: the operator of the server allows others (DAYFLY_WEBHOOK_NETWORKS)"
            )
        *others, last = addresses
        for address in others:
            try:
                return await self._sockets.connect_tcp(address, port, self._seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._sockets.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise WebhookAddressForbidden(f"{path} is no address of a webhook")

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)
