"""Middleware for every request: an id, the checks of request_checks.py, security headers, no escaping exception.

Plain ASGI, so that long responses stream and a disconnected caller is noticed. The caller is identified before the body
is read. Not here: how (authentication.py), and what the caller may do (operations.py).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import Final

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dayfly.api import problems, request_checks
from dayfly.api.audit import Audit
from dayfly.api.authentication import Authentication
from dayfly.api.long_poll import StreamCut
from dayfly.api.request_metrics import RequestMetrics
from dayfly.errors import Forbidden, InfrastructureError, Unauthenticated

_USABLE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger(__name__)


def install(
    app: Starlette,
    allowed_hosts: frozenset[str] | None,
    closing: asyncio.Event,
    *,
    body_seconds: float,
    authentication: Authentication | None,
    public: frozenset[str],
) -> None:
    """Put the middleware around `app`: the request id, within it the metrics, then the audit, then the gate.

    `allowed_hosts`, `closing` and `authentication` as in ApiServices. Without authentication nothing needs it, nothing
    can be changed, and there is no audit. `public`: paths that need none.
    """
    app.add_middleware(
        Gate,
        allowed_hosts=allowed_hosts,
        closing=closing,
        body_seconds=body_seconds,
        authentication=authentication,
        public=public,
    )
    if authentication is not None:
        app.add_middleware(Audit)
    app.add_middleware(RequestMetrics)
    # A transformer and no validator: the library logs a warning for each id that a validator refuses.
    app.add_middleware(
        CorrelationIdMiddleware, header_name="X-Request-Id", validator=None, transformer=_usable_request_id
    )


def _usable_request_id(given: str) -> str:
    return given if _USABLE_ID.fullmatch(given) else secrets.token_hex(8)


@dataclass(frozen=True)
class Gate:
    """Checks a request before the application sees it. The fields are those of install().

    `body_seconds`: the time that a caller has for the body.
    """

    app: ASGIApp
    allowed_hosts: frozenset[str] | None
    closing: asyncio.Event
    body_seconds: float
    authentication: Authentication | None
    public: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = False

        async def send_secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                added = {**scope.get("state", {}).get("response_headers", {}), **problems.SECURITY_HEADERS}
                MutableHeaders(scope=message).update(added)
            await send(message)

        try:
            refusal = (
                request_checks.refuse_overload(scope)
                or request_checks.refuse_url(scope)
                or request_checks.refuse_host(scope, headers, self.allowed_hosts)
                or request_checks.refuse_origin(scope, headers)
                or await self._refuse_stranger(scope)
            )
            if refusal is None:
                try:
                    async with asyncio.timeout(self.body_seconds):
                        body = await _read(receive, headers)
                except TimeoutError:
                    refusal = request_checks.late_body(scope, self.body_seconds)
                else:
                    if body is None:
                        return  # the caller left before the end of the body
                    refusal = request_checks.refuse_body(scope, headers, body)
                    receive = _Replayed(body, receive)
            await (refusal or self.app)(scope, receive, send_secured)
        except ClientDisconnect:
            _log.info("the caller left before the commit", method=scope["method"], path=scope["path"])
        except asyncio.CancelledError:
            if not self.closing.is_set():
                raise
            # The server cancels what still runs when it stops. It would answer 500 in plain text, with a traceback.
            _log.warning("request ended by the stop", method=scope["method"], path=scope["path"], answered=started)
            if not started:
                await _stopping(scope)(scope, receive, send_secured)
        except StreamCut:
            # Not completed on purpose: uvicorn closes the connection.
            _log.info("stream cut", method=scope["method"], path=scope["path"])
        except Exception as error:
            _log.exception("request failed", method=scope["method"], path=scope["path"])
            if started:
                raise RuntimeError(f"request {problems.request_id()} failed after its response had begun") from error
            await problems.internal_problem(scope)(scope, receive, send_secured)

    async def _refuse_stranger(self, scope: Scope) -> Response | None:
        """401 for a request that does not prove its principal, 403 for a principal without a team; an outage's 503."""
        if self.authentication is None or scope["path"] in self.public:
            return None
        try:
            await self.authentication.identify(scope)
        except (Unauthenticated, Forbidden, InfrastructureError) as error:
            return problems.problem_of(scope, error)
        return None


def _stopping(scope: Scope) -> Response:
    detail = (
        "The service stops, and may not have completed the request. Repeat it, a POST with the same Idempotency-Key: "
        "then it is carried out once."
    )
    return problems.problem_response(scope, 503, "shutting_down", "The service stops", detail)


@dataclass
class _Replayed:
    """A receive channel that returns a body that was read already, then the rest."""

    body: bytes | None
    receive: Receive

    async def __call__(self) -> Message:
        if self.body is None:
            return await self.receive()
        message = {"type": "http.request", "body": self.body, "more_body": False}
        self.body = None
        return message


async def _read(receive: Receive, headers: Headers) -> bytes | None:
    """The body, of a body over the limit at least one byte too many; None if the caller left."""
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > request_checks.MAX_BODY_BYTES:
        return bytes(request_checks.MAX_BODY_BYTES + 1)
    body = bytearray()
    while len(body) <= request_checks.MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)
