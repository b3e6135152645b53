"""Middleware that records requests in the audit log: those that may change something, and those that read a secret.

A request that changes something is recorded in the transaction that does so (store/db/audit_rows.py), with the status
that its route has for success. All others, and those that get another answer than expected, are recorded here before
the answer is sent: where that fails, the caller gets 503 instead. A request may therefore have two entries, of which
the later has its answer. A caller that leaves, or a process that is killed, loses no entry of a change.

Not recorded: requests that are refused because too many connections are open. Not here: which requests are recorded
(domain/audit.py), and routes of the log (system/routes_audit.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dayfly.api import problems
from dayfly.api.dependencies import ApiServices
from dayfly.api.request_checks import OVER_LIMIT
from dayfly.domain.audit import REFUSED_FROM, UNANSWERED, AuditTarget, NewAuditEntry, is_recorded
from dayfly.domain.security.principal import UNAUTHENTICATED, Principal
from dayfly.errors import DatabaseUnavailable, DayflyError
from dayfly.store import AuditedRequest, audited_request

UNIX: Final = "unix"
"""The address of callers at a unix socket."""
_OK: Final = 200
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LOCATION: Final = re.compile(r"/v1/([a-z]+)s/([0-9a-f]{12})")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Audit:
    """Middleware around the gate, whose refusals are recorded, too; within the middleware of request ids."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("state", {}).get(OVER_LIMIT, False):
            await self.app(scope, receive, send)
            return
        request = AuditedRequest(lambda target: _accepted(scope, target))
        answer = _Answer(scope, receive, send, request)
        token = audited_request.set(request)
        try:
            await self.app(scope, receive, answer.send)
        finally:
            audited_request.reset(token)
            if not answer.began:
                await answer.record_none()


@dataclass
class _Answer:
    """The answer to one request, which is sent once the request is recorded."""

    scope: Scope
    receive: Receive
    to_caller: Send
    request: AuditedRequest
    began: bool = False
    replaced: bool = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.began:
            self.began = True
            if not await self._record(message):
                self.replaced = True
                await _unrecorded(self.scope)(self.scope, self.receive, self.to_caller)
        if not self.replaced:
            await self.to_caller(message)

    async def _record(self, message: Message) -> bool:
        """Whether the request is on record with this answer."""
        status = int(message["status"])
        entry = _entry(self.scope, status, self._target(message))
        committed = self.request.committed
        if entry is None or (committed is not None and committed.status == status):
            return True
        if entry.code == DatabaseUnavailable.code:
            return True  # nothing can be recorded now, and a change would have been recorded with it
        try:
            await _services(self.scope).store.audit.append(entry)
        except DayflyError as error:
            problems.log_outage(error)
            return False
        except Exception:
            _log.exception("request not recorded", method=self.scope["method"], path=self.scope["path"])
            return False
        return True

    async def record_none(self) -> None:
        """Record a request that ended without an answer. A change of it is on record already."""
        entry = None if self.request.committed is not None else _entry(self.scope, None, None)
        # Without a route nothing could be done.
        if entry is None or entry.operation is None:
            return
        try:
            await _services(self.scope).store.audit.append(entry)
        except DayflyError as error:
            # Nobody is left to be answered.
            _log.error("unanswered request not recorded", operation=entry.operation, code=error.code)

    def _target(self, message: Message) -> AuditTarget | None:
        """What the transaction named; what the answer says that it is at; None: as the path says."""
        if self.request.committed is not None:
            return self.request.committed.target
        located = _LOCATION.fullmatch(Headers(raw=message.get("headers", [])).get("location", ""))
        return None if located is None else AuditTarget(located[1], located[2])


def _accepted(scope: Scope, target: AuditTarget) -> NewAuditEntry | None:
    route = scope.get("route")
    status = (route.status_code if isinstance(route, APIRoute) else None) or _OK
    return _entry(scope, status, target)


def _entry(scope: Scope, status: int | None, target: AuditTarget | None) -> NewAuditEntry | None:
    """None: such a request is not recorded."""
    operation, parameters = _operation(scope)
    if not is_recorded(scope["method"], operation, status):
        return None
    # A request that is refused before has none.
    principal: Principal | None = scope.get("state", {}).get("principal")
    code = UNANSWERED if status is None else None
    if status is not None and status >= REFUSED_FROM:
        code = scope.get("state", {}).get(problems.CODE)
    entry = NewAuditEntry(
        principal=UNAUTHENTICATED,
        team=None,
        role=None,
        address=_address(scope),
        request_id=problems.request_id(),
        operation=operation,
        target=target or _named(parameters),
        status=status,
        code=code,
    )
    if principal is None:
        return entry
    return replace(entry, principal=principal.name, team=principal.team, role=principal.role.value)


def _operation(scope: Scope) -> tuple[str | None, dict[str, Any]]:
    """The operation of the request's route, and the parameters of its path."""
    route = scope.get("route")
    if isinstance(route, APIRoute) and scope["method"] in (route.methods or ()):
        return route.operation_id, scope.get("path_params", {})
    # Refused before it was routed.
    for known in scope["app"].state.known_routes:
        match, child = known.matches(scope)
        if match is Match.FULL and isinstance(known, APIRoute):
            return known.operation_id, child.get("path_params", {})
    return None, {}


def _named(parameters: dict[str, Any]) -> AuditTarget | None:
    """What the path names, by the kind of its first parameter. A text that can be no name may be a secret."""
    for kind, given in parameters.items():
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            return None
        return AuditTarget(kind, given) if given[0].isdigit() else AuditTarget(kind, None, given)
    return None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client and client[0] else UNIX


def _services(scope: Scope) -> ApiServices:
    services: ApiServices = scope["app"].state.services
    return services


def _unrecorded(scope: Scope) -> Response:
    detail = (
        "The request could not be recorded in the audit log, and may have been carried out. Repeat it, a POST with "
        "the same Idempotency-Key: then it is carried out once."
    )
    return problems.problem_response(
        scope,
        503,
        DatabaseUnavailable.code,
        problems.title_of(DatabaseUnavailable),
        detail,
        headers=problems.SECURITY_HEADERS,
    )
