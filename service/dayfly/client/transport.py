"""Addresses, credentials and time limits of requests, and how responses are read. Both clients use it."""

from __future__ import annotations

import os
import re
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar
from urllib.parse import quote, unquote

import httpx
from pydantic import ValidationError

from dayfly.addresses import is_loopback
from dayfly.client.authorities import PinnedAuthority, trusted
from dayfly.client.credentials import stored_token
from dayfly.client.errors import ApiError, InvalidArgument, Unreachable, Untrusted
from dayfly.schemas.base import CLUSTER_HEADER, FROM_SERVER, ResponseModel

M = TypeVar("M", bound=ResponseModel)

DEFAULT_URL: Final = "http://127.0.0.1:8700"
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CLUSTER_PART: Final = re.compile(r"/v1/clusters/([^/]+)/.")
_SECONDS: Final = re.compile(r"[0-9]{1,6}")

_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]+")

FOLLOW_TIMEOUT: Final = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=None)
"""Of a console that is watched: it may say nothing for hours."""
EVENTS_TIMEOUT: Final = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=80.0)
"""Of a stream of events. A longer silence is a broken connection: the server sends a keep-alive every 15 s, or, without
streams, holds a page for 50 s.
"""


Query = Mapping[str, str | float | Sequence[str] | None]
"""Parameters of a request; None is left out."""


class RequestOptions(TypedDict, total=False):
    """One request. `hold_seconds` is how long the server may hold the answer on purpose.

    `key`: a POST's Idempotency-Key. `once`: the caller repeats the request itself.
    `of`: the id or name that the answer must have.
    """

    query: Query
    json: Mapping[str, object]
    key: str | None
    hold_seconds: float
    once: bool
    of: str | None


def configuration(
    url: str | None,
    token: str | None,
    token_over_http: bool | None = None,
    ca_file: str | Path | None = None,
    ca_fingerprint: str | None = None,
) -> tuple[dict[str, Any], PinnedAuthority | None]:
    """Arguments for an httpx client: what is given, else DAYFLY_URL and DAYFLY_TOKEN, else the default.

    Without a token, that which `dayfly login` stored for the server. `token_over_http`: DAYFLY_TOKEN_OVER_HTTP.
    With a fingerprint, also the authority to fetch before the first request.
    Raises Unreachable where the URL is none, InvalidArgument where the token cannot be sent, or would be readable on
    the way, and as authorities.trusted.
    """
    parsed = server_url(url)
    token, named = (token, "the token") if token else (os.environ.get("DAYFLY_TOKEN"), "DAYFLY_TOKEN")
    if not token:
        token, named = stored_token(parsed), "the stored token"
    if token:
        _check_header(token, named)
    if parsed.scheme == "unix":
        base_url, loopback = httpx.URL("http://localhost"), True
    else:
        base_url, loopback = parsed, is_loopback(parsed.host)
    if token_over_http is None:
        token_over_http = os.environ.get("DAYFLY_TOKEN_OVER_HTTP") == "allow"
    if token and base_url.scheme == "http" and not loopback and not token_over_http:
        raise InvalidArgument(f"a token is not sent to {parsed}: http shows it to the network; use https")
    context, pinned = (None, None) if parsed.scheme == "unix" else trusted(str(parsed), ca_file, ca_fingerprint)
    arguments: dict[str, Any] = {
        "base_url": base_url,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        # A proxy of the environment is not the way to this machine itself.
        "trust_env": not loopback,
    }
    return arguments | ({} if context is None else {"verify": context}), pinned


def socket_of(url: str | None) -> str | None:
    """The path of the server's unix socket; None: the URL is another."""
    parsed = server_url(url)
    return parsed.path if parsed.scheme == "unix" else None


def server_url(url: str | None) -> httpx.URL:
    """The server's URL: `url`, else DAYFLY_URL, else the default. Raises Unreachable, InvalidArgument."""
    url = url or os.environ.get("DAYFLY_URL") or DEFAULT_URL
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Unreachable(url, str(error)) from error
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the URL {url!r} is not valid UTF-8") from error
    is_socket = parsed.scheme == "unix" and not parsed.host and len(parsed.path) > 1
    if not is_socket and (parsed.scheme not in {"http", "https"} or not parsed.host):
        raise Unreachable(url, "not an http:// or https:// URL")
    return parsed


def with_key(method: str, options: RequestOptions) -> RequestOptions:
    """The options of a POST with a key: a new one, if the caller gave none. Raises InvalidArgument."""
    if method != "POST":
        return options
    key = options.get("key") or uuid.uuid4().hex
    _check_header(key, "the idempotency key")
    return {**options, "key": key}


def _check_header(value: str, named: str) -> None:
    """Raise InvalidArgument unless a header can have `value`, which may be secret."""
    if not _HEADER_VALUE.fullmatch(value):
        raise InvalidArgument(f"{named} must be printable ASCII without spaces")


def arguments(options: RequestOptions) -> dict[str, Any]:
    read = _ANSWER_SECONDS + options.get("hold_seconds", 0.0)
    return {
        "params": given(options.get("query", {})),
        "json": options.get("json"),
        "headers": {"Idempotency-Key": key} if (key := options.get("key")) else None,
        "timeout": httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, read=read),
    }


def given(query: Query) -> dict[str, str | float | Sequence[str]]:
    """The parameters without those that are None."""
    return {key: value for key, value in query.items() if value is not None}


def path_of(resource: str, *parts: str) -> str:
    """The path of a resource, such as `clusters`, and of what is below it. The only place that makes paths of names.

    Raises InvalidArgument where a part is no single segment: httpx and proxies resolve `..`, and a DELETE of it would
    be one of the resource above.
    """
    return "/".join(("/v1", resource, *map(_segment, parts)))


def _segment(part: str) -> str:
    if not part or not part.isprintable() or any(one in {"", ".", ".."} for one in re.split(r"[/\\]", part)):
        raise InvalidArgument(f"{part!r} is not a name or id")
    return quote(part, safe="")


def check_cluster(response: httpx.Response, path: str) -> None:
    """Raise ApiError where a response about a part of a cluster is of another cluster than `path` names.

    The header names the cluster; an older server does not send it.
    """
    named, asked = response.headers.get(CLUSTER_HEADER), _CLUSTER_PART.match(path)
    if named is not None and asked is not None:
        _check_named(response, unquote(asked[1]), named.split())


def _check_named(response: httpx.Response, of: str, shown: Sequence[str]) -> None:
    if of not in shown:
        named = " or ".join(map(repr, shown)) or "something without a name"
        detail = f"{response.url} was asked for {of!r} and answered with {named}"
        raise ApiError("unexpected_answer", response.status_code, detail, {})


def read(model: type[M], response: httpx.Response, of: str | None = None) -> M:
    """The response as a value. Raises ApiError where it is none of Dayfly's, or not of the id or name `of`."""
    try:
        value = model.model_validate_json(response.content, context=FROM_SERVER)
    except ValidationError as error:
        raise not_dayfly(response) from error
    if of is not None:
        shown = (getattr(value, "id", None), getattr(value, "name", None))
        _check_named(response, of, [one for one in shown if one is not None])
    return value


def api_error(response: httpx.Response) -> ApiError:
    """The problem in a response that was read; `unexpected_answer` where another than Dayfly answered.

    A proxy's page, or its JSON, is none of Dayfly's: a program must not take a proxy's 404 for a deleted cluster.
    """
    media_type = str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
    try:
        problem = response.json() if media_type == "application/problem+json" else None
    except (ValueError, RecursionError):
        problem = None
    code = problem.get("code") if isinstance(problem, dict) else None
    if not isinstance(problem, dict) or not isinstance(code, str) or not _CODE.fullmatch(code):
        return not_dayfly(response)
    detail = problem.get("detail")
    text = detail if isinstance(detail, str) else ""
    return ApiError(code, response.status_code, text, problem, retry_after_seconds=_retry_after(response))


@contextmanager
def transport_errors(base_url: httpx.URL) -> Iterator[None]:
    """Raise Unreachable for whatever httpx raises while it sends a request or reads a response.

    Not only for a broken connection: a response that cannot be decoded (a proxy's broken gzip) is no answer either.
    """
    try:
        yield
    except httpx.RequestError as error:
        if (refusal := _refused_certificate(error)) is not None:
            raise Untrusted(str(base_url).rstrip("/"), refusal) from error
        sent = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
        raise Unreachable(str(base_url).rstrip("/"), str(error) or type(error).__name__, sent=sent) from error


def _refused_certificate(error: BaseException) -> str | None:
    """Why the server's certificate was refused, if that is the error; httpx has it as a cause of a cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return None


def as_text(response: httpx.Response) -> None:
    """Read the response's text as Dayfly sends it; the charset that a response names may be a codec of no text."""
    response.encoding = "utf-8"


def not_dayfly(response: httpx.Response) -> ApiError:
    """The error for a response that is none of Dayfly's."""
    detail = f"{response.url} answered HTTP {response.status_code}, but not as Dayfly does"
    retry_after = _retry_after(response)
    return ApiError("unexpected_answer", response.status_code, detail, {}, retry_after_seconds=retry_after)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; a date is ignored."""
    value = str(response.headers.get("retry-after", ""))
    return float(value) if _SECONDS.fullmatch(value) else None
