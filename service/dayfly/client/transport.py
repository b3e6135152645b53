"""Sends calls by httpx: addresses, credentials, time limits, errors. Both clients use it."""

from __future__ import annotations

import os
from typing import Any, Final, TypeVar

import httpx
from pydantic import ValidationError

from dayfly.client.errors import ApiError, Unreachable
from dayfly.client.operations import clusters
from dayfly.client.operations.call import Call

T = TypeVar("T")

DEFAULT_URL: Final = "http://127.0.0.1:8700"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0


def configuration(url: str | None, token: str | None) -> dict[str, Any]:
    """Arguments for an httpx client: what is given, else DAYFLY_URL and DAYFLY_TOKEN, else the default.

    Raises Unreachable where the URL is none.
    """
    url = url or os.environ.get("DAYFLY_URL") or DEFAULT_URL
    token = token or os.environ.get("DAYFLY_TOKEN")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Unreachable(url, str(error)) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise Unreachable(url, "not an http:// or https:// URL")
    return {
        "base_url": parsed,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        # A proxy of the environment is not the way to this machine itself.
        "trust_env": parsed.host not in _LOOPBACK,
        "timeout": _time_limits(0.0),
    }


def request_arguments(call: Call[Any]) -> dict[str, Any]:
    """Arguments for httpx's build_request()."""
    query = {key: value for key, value in call.query.items() if value is not None}
    return {
        "method": call.method,
        "url": call.path,
        "params": query,
        "json": call.json,
        "headers": call.headers,
        "timeout": _time_limits(call.hold_seconds),
    }


def follow_arguments(cluster: str, node: str, tail_bytes: int) -> dict[str, Any]:
    """Arguments for build_request() of a console that is watched: it may say nothing for hours."""
    arguments = request_arguments(clusters.follow_console(cluster, node, tail_bytes))
    return {**arguments, "timeout": httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=None)}


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """The call's result. Raises ApiError for anything but success."""
    if not response.is_success:
        raise api_error(response)
    try:
        return call.parse(response)
    except ValidationError as error:
        raise _not_dayfly(response) from error


def api_error(response: httpx.Response) -> ApiError:
    """The problem in a response that was read; something like one where another than Dayfly answered."""
    status = response.status_code
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        return _not_dayfly(response)
    return ApiError(str(problem["code"]), status, str(problem.get("detail", "")), problem)


def _not_dayfly(response: httpx.Response) -> ApiError:
    detail = f"{response.url} answered HTTP {response.status_code}, but not as Dayfly does"
    return ApiError("unexpected_answer", response.status_code, detail, {})


def unreachable(base_url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """What a broken or missing connection means to a caller."""
    return Unreachable(str(base_url).rstrip("/"), str(error) or type(error).__name__)


def _time_limits(hold_seconds: float) -> httpx.Timeout:
    return httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS + hold_seconds)
