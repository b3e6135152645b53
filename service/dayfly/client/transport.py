"""Addresses, credentials and time limits of requests, and how responses are read. Both clients use it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from dayfly.client.errors import ApiError, Unreachable
from dayfly.schemas.base import FROM_SERVER, ResponseModel

M = TypeVar("M", bound=ResponseModel)

DEFAULT_URL: Final = "http://127.0.0.1:8700"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0

FOLLOW_TIMEOUT: Final = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=None)
"""Of a console that is watched: it may say nothing for hours."""


class RequestOptions(TypedDict, total=False):
    """One request. `hold_seconds` is how long the server may hold the answer on purpose."""

    query: Mapping[str, str | float | Sequence[str] | None]
    json: Mapping[str, object]
    headers: Mapping[str, str]
    hold_seconds: float


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
    }


def arguments(options: RequestOptions) -> dict[str, Any]:
    """Arguments for httpx's request()."""
    read = _ANSWER_SECONDS + options.get("hold_seconds", 0.0)
    return {
        "params": {key: value for key, value in options.get("query", {}).items() if value is not None},
        "json": options.get("json"),
        "headers": options.get("headers"),
        "timeout": httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=read),
    }


def path_of(resource: str, *parts: str) -> str:
    """The path of a resource, such as `clusters`, and of what is below it."""
    return "/".join(("/v1", resource, *(quote(part, safe="") for part in parts)))


def read(model: type[M], response: httpx.Response) -> M:
    """The response as a value. Raises ApiError where it is none of Dayfly's."""
    try:
        return model.model_validate_json(response.content, context=FROM_SERVER)
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


def unreachable(base_url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """What a broken or missing connection means to a caller."""
    return Unreachable(str(base_url).rstrip("/"), str(error) or type(error).__name__)


def _not_dayfly(response: httpx.Response) -> ApiError:
    detail = f"{response.url} answered HTTP {response.status_code}, but not as Dayfly does"
    return ApiError("unexpected_answer", response.status_code, detail, {})
