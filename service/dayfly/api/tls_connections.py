"""The server's connections with TLS: the handshake has the bound and the deadline that plain connections have.

A unix socket has no TLS: its caller is this host's. uvicorn gives asyncio's server a context. Then a connection counts
only after its handshake, for which a caller has a minute: silent callers would use up the process's open files. Not
here: the certificate (tls/server_tls.py).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from dayfly.api.connections import BoundedProtocol, Connections


@dataclass(frozen=True, kw_only=True)
class TlsConnections(Connections):
    """`context` is called for each connection: a renewed certificate is for those that begin later."""

    context: Callable[[], ssl.SSLContext]

    def protocol_class(self) -> type[BoundedProtocol]:
        return type("TlsProtocol", (TlsProtocol,), {"limits": self})


class TlsProtocol(BoundedProtocol):
    """One connection: first the bytes of the handshake, then what BoundedProtocol serves."""

    limits: ClassVar[TlsConnections]
    _handshake: asyncio.Task[None] | None = None
    _early: list[bytes] | None = None
    """What the caller sent with the end of the handshake: asyncio of Python 3.11 hands it over before it returns."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        is_local = transport.get_extra_info("socket").family == socket.AF_UNIX
        if is_local or transport.get_extra_info("sslcontext") is not None:
            super().connection_made(transport)
            return
        self._early = []
        self.transport = transport
        self.connections.add(self)
        self.limits.waiting[self] = None
        self._make_room()
        self._handshake = self.loop.create_task(self._shake_hands(transport))

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            super().data_received(data)
        else:
            self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        secured = None
        try:
            secured = await self.loop.start_tls(
                transport,
                self,
                self.limits.context(),
                server_side=True,
                ssl_handshake_timeout=self.limits.seconds,
                ssl_shutdown_timeout=self.limits.seconds,
            )
        except OSError:
            # The caller left, was too slow, speaks no TLS or does not trust the certificate: nothing to tell anybody,
            # and callers could fill the log.
            pass
        finally:
            if secured is None:
                self._forget()
        early, self._early = self._early or (), None
        if secured is not None:
            self.connection_made(secured)
            for data in early:
                self.data_received(data)

    def _forget(self) -> None:
        self.connections.discard(self)
        self._stop_waiting()
