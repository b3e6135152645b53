"""Checks of a request's URL, host, origin and body, each with the problem that refuses it. Not here: routes' own.

The Host header is not checked by Starlette's TrustedHostMiddleware, which answers 400 in plain text and takes no other
response: a refused host gets a problem (RFC 9457) with status 421.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from dayfly.api import problems

OVER_LIMIT: Final = "dayfly.over_limit"
"""Key in a request's `state`: whether more connections are open than allowed (connections.py)."""
MAX_BODY_BYTES: Final = 64 * 1024
MAX_URL_BYTES: Final = 16 * 1024
"""Of path and query: enough for a listing with as many labels as a cluster can have."""
MAX_QUERY_PARAMETERS: Final = 64

_OWN_SITES: Final = frozenset({"none", "same-origin"})
"""Values of Sec-Fetch-Site of requests that no foreign page makes: `none` is the address bar."""
_PORTS: Final = {"http": 80, "https": 443}


def refuse_host(scope: Scope, headers: Headers, allowed: Collection[str] | None) -> Response | None:
    """421 for a host name that is not `allowed` (None: any is), against DNS rebinding by web pages."""
    if allowed is None or _host_name(headers.get("host", "")) in allowed:
        return None
    detail = "The host name in the Host header is not allowed. The operator allows it with DAYFLY_HOST_NAMES."
    return problems.problem_response(scope, 421, "host_not_allowed", "The request is addressed to another host", detail)


def refuse_origin(scope: Scope, headers: Headers) -> Response | None:
    """403 for a request that a browser makes for a page of another origin, whatever its method and body.

    A request without a body needs no CORS preflight: a page could reset or delete clusters without reading answers.
    """
    host = headers.get("host", "")
    foreign = any(not _is_same_host(origin, host) for origin in headers.getlist("origin"))
    if not foreign and _OWN_SITES.issuperset(headers.getlist("sec-fetch-site")):
        return None
    detail = "A web page of another origin made this request, as its header Origin or Sec-Fetch-Site says."
    return problems.problem_response(scope, 403, "foreign_origin", "The request comes from another origin", detail)


def refuse_overload(scope: Scope) -> Response | None:
    """503 where more connections are open than allowed, and all others are being answered."""
    if not scope.get("state", {}).get(OVER_LIMIT, False):
        return None
    detail = "The service answers as many connections as it may: repeat the request later."
    headers = {"Connection": "close"}
    return problems.problem_response(
        scope, 503, "too_many_connections", "Too many connections", detail, headers=headers
    )


def refuse_url(scope: Scope) -> Response | None:
    """414 for a path and query over MAX_URL_BYTES, 422 for more than MAX_QUERY_PARAMETERS: parsing blocks the loop."""
    query = scope["query_string"]
    if len(scope["raw_path"]) + len(query) > MAX_URL_BYTES:
        detail = f"A request's path and query have at most {MAX_URL_BYTES} bytes."
        return problems.problem_response(scope, 414, "uri_too_long", "The URL is too long", detail)
    if query.count(b"&") >= MAX_QUERY_PARAMETERS:
        detail = f"query: a request has at most {MAX_QUERY_PARAMETERS} query parameters"
        return problems.invalid_request(scope, detail)
    return None


def refuse_body(scope: Scope, headers: Headers, body: bytes) -> Response | None:
    """413 for a body over MAX_BODY_BYTES, 415 for one that is not declared as JSON."""
    if len(body) > MAX_BODY_BYTES:
        detail = f"A request's body has at most {MAX_BODY_BYTES} bytes."
        return problems.problem_response(
            scope, 413, "body_too_large", "The body is too large", detail, headers={"Connection": "close"}
        )
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and media_type != "application/json":
        detail = "Send JSON with the header Content-Type: application/json."
        return problems.problem_response(
            scope, 415, "unsupported_media_type", "The body is not declared as JSON", detail
        )
    return None


def late_body(scope: Scope, seconds: float) -> Response:
    """408 for a body that did not arrive in time."""
    detail = f"The request's body did not arrive within {seconds:g} s."
    return problems.problem_response(
        scope, 408, "body_too_slow", "The body did not arrive in time", detail, headers={"Connection": "close"}
    )


def _is_same_host(origin: str, host: str) -> bool:
    """Whether `origin` is the origin at `host`. The scheme is not compared: a proxy may end TLS before Dayfly."""
    try:
        given = urlsplit(origin)
        expected = urlsplit(f"{given.scheme}://{host}")
        ports = given.port, expected.port
    except ValueError:
        return False
    default = _PORTS.get(given.scheme)
    return (
        default is not None and given.hostname == expected.hostname and (ports[0] or default) == (ports[1] or default)
    )


def _host_name(header: str) -> str:
    """`[::1]:8700` → `::1`, `Localhost:8700` → `localhost`, `lab.example.` → `lab.example`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().removesuffix(".")
