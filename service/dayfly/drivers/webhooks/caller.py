"""One call of a webhook: a signed POST (Standard Webhooks), within limits of time and size, without redirects.

No proxy, cookie or connection is shared between calls: httpcore reads no environment. Not here: which addresses a
connection may go to (network.py), and when a call is made (controllers/webhooks/).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import certifi
import httpcore
from standardwebhooks import Webhook

from dayfly import __version__
from dayfly.domain.security.webhook_addresses import Network
from dayfly.drivers.interfaces.webhooks import WebhookAnswer, WebhookCall
from dayfly.drivers.webhooks.network import CONNECT_SECONDS, AllowedAddresses, Resolve, resolve
from dayfly.errors import WebhookNotHttp, WebhookTimeout, WebhookTlsFailed, WebhookUnreachable

CALL_SECONDS: Final = 15.0
"""The longest time of a call, from the look-up of the name to the end of what is read of the answer."""
ANSWER_BYTES: Final = 1024
"""Of an answer's body, so many bytes are read."""


def trusted() -> ssl.SSLContext:
    """Certificates are verified by the authorities that this machine trusts; without any, by Mozilla's."""
    known = ssl.get_default_verify_paths().cafile
    return ssl.create_default_context(cafile=known or certifi.where())


@dataclass(frozen=True)
class HttpCaller:
    """Calls receivers at public addresses and at those of `allowed`."""

    allowed: Sequence[Network] = ()
    seconds: float = CALL_SECONDS
    resolve: Resolve = resolve
    tls: ssl.SSLContext = field(default_factory=trusted)
    connect_seconds: float = CONNECT_SECONDS

    async def call(self, call: WebhookCall) -> WebhookAnswer:
        """See WebhookCaller."""
        host = urlsplit(call.url).hostname
        try:
            return await self._post(call, asyncio.get_running_loop().time() + self.seconds)
        except TimeoutError as error:
            raise WebhookTimeout(f"{host} did not answer within {self.seconds:g} s") from error
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLError) or isinstance(error.__context__, ssl.SSLError):
                raise WebhookTlsFailed(f"no TLS connection to {host}: {error}") from error
            raise WebhookUnreachable(f"no connection to {host}") from error
        except httpcore.TimeoutException as error:
            raise WebhookTimeout(f"{host} did not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise WebhookNotHttp(f"{host} ended the connection, or did not answer HTTP") from error

    async def _post(self, call: WebhookCall, deadline: float) -> WebhookAnswer:
        """`deadline`: of the status and, as far as it is read, of the body; a time of the event loop."""
        body = call.body.encode()
        headers = {
            "Host": urlsplit(call.url).netloc,
            "User-Agent": f"dayfly/{__version__}",
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Connection": "close",
            "webhook-id": call.message_id,
            "webhook-timestamp": str(int(call.at.timestamp())),
            "webhook-signature": Webhook(call.secret).sign(call.message_id, call.at, call.body),
        }
        network = AllowedAddresses(self.allowed, self.resolve, self.connect_seconds)
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self.tls, max_connections=1, network_backend=network
            ) as connections,
            AsyncExitStack() as stack,
        ):
            async with asyncio.timeout_at(deadline):
                posting = connections.stream("POST", _parsed(call.url), headers=list(headers.items()), content=body)
                response = await stack.enter_async_context(posting)
            return WebhookAnswer(response.status, await _beginning(response, deadline))


async def _beginning(response: httpcore.Response, deadline: float) -> bytes:
    """What came of the body until the deadline: the status counts, whatever the rest would be."""
    found = b""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            async for part in response.aiter_stream():
                found += part[: ANSWER_BYTES - len(found)]
                if len(found) >= ANSWER_BYTES:
                    break
    return found


def _parsed(url: str) -> httpcore.URL:
    """httpcore's own parser leaves out what follows a `;` in the last part of the path."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)
