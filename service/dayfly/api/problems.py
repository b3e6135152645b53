"""Every error as RFC 9457 `application/problem+json`: the only place that maps errors to HTTP statuses.

Programs may rely on `code`; `detail` is for people and may change.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, cast

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from dayfly import errors
from dayfly.api.dependencies import ApiServices

MEDIA_TYPE: Final = "application/problem+json"
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",  # no page of another origin embeds an answer
}
"""Of every response."""
CODE: Final = "dayfly.problem_code"
"""Key in a request's `state`: the code of the problem that answers the request."""
_RETRY_AFTER_SECONDS: Final = 5

_STATUS: Final[Mapping[type[errors.DayflyError], int]] = {
    errors.InvalidRequest: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LongPollsExceeded: 429,
    errors.PreconditionFailed: 412,
    errors.RateLimited: 429,
    errors.TooManyStreams: 503,
    errors.TooManyWaits: 503,
    errors.InfrastructureError: 503,
    errors.Internal: 500,
    errors.Failure: 502,
    errors.DayflyError: 500,
}
"""An error's nearest base class in this table decides. 502: the engine failed."""

_HTTP: Final[Mapping[int, tuple[str, str]]] = {
    400: ("malformed_json", "The body is not JSON"),
    404: ("not_found", "No such route"),
    405: ("method_not_allowed", "The route does not have this method"),
}
_MAX_FIELD_ERRORS: Final = 20
_MAX_PATH_LENGTH: Final = 200
_MAX_INSTANCE_LENGTH: Final = 1024

_log = structlog.get_logger(__name__)
_outages = structlog.get_logger("dayfly.api.outages")


class FieldError(BaseModel):
    """One invalid field, or one failed check."""

    location: Literal["body", "query", "path", "header", "check"] = Field(description="The part of the request.")
    path: str = Field(description="The field, dotted: `workers.count`.", examples=["control_plane.memory_mib"])
    detail: str


class QuotaAmount(BaseModel):
    """Something of the team that takes a part of the quota."""

    name: str
    amount: int


class QuotaProblem(BaseModel):
    """The quota that the request would exceed."""

    team: str
    name: str = Field(description="As in `GET /v1/quota`.", examples=["vcpus"])
    limit: int
    used: int
    wanted: int = Field(description="By the request, in addition.")
    largest: list[QuotaAmount] = Field(description="What takes most of it.")


class Problem(BaseModel):
    """An error, after RFC 9457."""

    type: str = Field(description="A URN made of the code.", examples=["urn:dayfly:problem:name_taken"])
    title: str = Field(description="The meaning of the code; the same for every problem with this code.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, for people. May change.")
    code: str = Field(description="Stable; programs may rely on it.", examples=["name_taken"])
    instance: str = Field(description="The requested path.")
    request_id: str = Field(description="As in the header X-Request-Id and in the server's log.")
    errors: list[FieldError] = Field(default_factory=list, description="The invalid fields, with reasons.")
    quota: QuotaProblem | None = Field(default=None, description="Of `quota_exceeded` and `long_polls_exceeded`.")


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Render expected errors of `routes` and the router as problems. middleware.py renders unexpected errors."""
    app.state.known_routes = routes
    app.add_exception_handler(errors.DayflyError, _on_dayfly_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def problem_response(
    scope: Scope,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    field_errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    given_request_id: str | None = None,
    quota: QuotaProblem | None = None,
) -> Response:
    """A problem as a response. `given_request_id`: where no middleware gave the request an id."""
    scope.setdefault("state", {})[CODE] = code
    problem = Problem(
        type=f"urn:dayfly:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        instance=_printable(scope["path"])[:_MAX_INSTANCE_LENGTH],
        request_id=given_request_id or request_id(),
        errors=list(field_errors),
        quota=quota,
    )
    # ASCII: a detail may quote lone surrogates of a request, which UTF-8 cannot encode.
    body = json.dumps(problem.model_dump(exclude_defaults=True), ensure_ascii=True).encode()
    retry = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if status in {429, 503} else {}
    return Response(body, status, headers=retry | dict(headers or {}), media_type=MEDIA_TYPE)


def invalid_request(scope: Scope, detail: str) -> Response:
    """The response to a request that is refused before a route sees it."""
    invalid = errors.InvalidRequest
    return problem_response(scope, _STATUS[invalid], invalid.code, title_of(invalid), detail)


def unreadable_request(too_long: bool, *, has_url: bool) -> Response:
    """The response to bytes that are no HTTP request. `has_url`: what is too long is not the URL."""
    if not too_long:
        status, code, title = 400, "bad_http", "The request is not HTTP"
        detail = "The bytes received are no HTTP/1.1 request."
    elif has_url:
        status, code, title = 431, "headers_too_large", "The headers are too large"
        detail = "A request's first line and headers are too large."
    else:
        status, code, title = 414, "uri_too_long", "The URL is too long"
        detail = "The request's first line is too long."
    given = secrets.token_hex(8)
    return problem_response(
        {"path": ""}, status, code, title, detail, headers={"X-Request-Id": given}, given_request_id=given
    )


def internal_problem(scope: Scope) -> Response:
    """The response to a defect: the request id, no internals."""
    detail = "An internal error of Dayfly. The server's log has the details under this request id."
    return problem_response(scope, 500, errors.Internal.code, title_of(errors.Internal), detail)


def log_outage(error: errors.DayflyError) -> None:
    """Log the detail of an outage, which the caller does not see. Other errors are logged where they arise."""
    if isinstance(error, errors.InfrastructureError) and error.operator_detail:
        _outages.warning(error.message, code=error.code, details=error.operator_detail)


def request_id() -> str:
    return cast("str", correlation_id.get())


async def _on_dayfly_error(request: Request, error: Exception) -> Response:
    failure = cast("errors.DayflyError", error)
    if _status_of(failure) == 500:
        _log.error("request failed", exc_info=failure)
        return internal_problem(request.scope)
    quota = await _refused(request, failure) if isinstance(failure, errors.QuotaExceeded) else None
    return problem_of(request.scope, failure, quota)


def problem_of(scope: Scope, failure: errors.DayflyError, quota: QuotaProblem | None = None) -> Response:
    """The response to a request that ended with an expected error. The log has the detail of an outage."""
    log_outage(failure)
    headers = {"WWW-Authenticate": 'Bearer realm="dayfly"'} if isinstance(failure, errors.Unauthenticated) else {}
    if isinstance(failure, errors.RateLimited):
        headers["Retry-After"] = str(failure.retry_after_seconds)
    title = title_of(type(failure))
    return problem_response(
        scope, _status_of(failure), failure.code, title, failure.message, headers=headers, quota=quota
    )


def _status_of(failure: errors.DayflyError) -> int:
    return next(_STATUS[ancestor] for ancestor in type(failure).__mro__ if ancestor in _STATUS)


async def _refused(request: Request, error: errors.QuotaExceeded) -> QuotaProblem:
    """The details of a quota; the team's webhooks are told."""
    try:
        await cast("ApiServices", request.app.state.services).store.quotas.refused(error)
    except errors.InfrastructureError as outage:
        log_outage(outage)  # the request is refused all the same
    largest = [QuotaAmount(name=name, amount=amount) for name, amount in error.largest]
    return QuotaProblem(
        team=error.team, name=error.quota, limit=error.limit, used=error.used, wanted=error.wanted, largest=largest
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    found = cast("Sequence[Mapping[str, Any]]", cast("RequestValidationError", error).errors())
    if any(one["type"] == "json_invalid" for one in found):
        code, title = _HTTP[400]
        reason = str(found[0].get("ctx", {}).get("error", "")) or "it cannot be parsed"
        return problem_response(request.scope, 400, code, title, f"The body is not JSON: {reason}.")
    field_errors = [_field_error(one) for one in found[:_MAX_FIELD_ERRORS]]
    detail = "; ".join(f"{one.path or one.location}: {one.detail}" for one in field_errors)
    invalid = errors.InvalidRequest
    return problem_response(request.scope, 422, invalid.code, title_of(invalid), detail, field_errors=field_errors)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    status = refusal.status_code
    phrase = HTTPStatus(status).phrase
    code, title = _HTTP.get(status, (phrase.lower().replace(" ", "_"), phrase))
    detail = {
        404: "This path does not exist.",
        405: f"This path does not have the method {request.method}.",
        400: "The body cannot be parsed as JSON: it is not UTF-8, is nested too deeply, or has too long numbers.",
    }.get(status, phrase)
    headers = {"Allow": _allowed_methods(request)} if status == 405 else refusal.headers
    return problem_response(request.scope, status, code, title, detail, headers=headers)


def _allowed_methods(request: Request) -> str:
    """The methods of all routes at this path. Starlette's own header lists those of the first route only."""
    matching = (route for route in request.app.state.known_routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in matching for method in getattr(route, "methods", None) or ()}))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    location, *path = error["loc"] or ("body",)
    known = location if location in {"body", "query", "path", "header"} else "body"
    dotted = _printable(".".join(str(part) for part in path))
    return FieldError(location=cast("Any", known), path=dotted[:_MAX_PATH_LENGTH], detail=error["msg"])


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def title_of(error: type[errors.DayflyError]) -> str:
    """The first line of the class's docstring: the meaning of the code."""
    return (inspect.getdoc(error) or error.code).partition("\n")[0].rstrip(".")
