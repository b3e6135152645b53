"""The device flow (RFC 8628): a person logs in with a browser, anywhere, and a terminal receives the token.

Not here: which issuers a server has (`Client.login_options`), and where the token is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from dayfly.addresses import is_loopback, is_private_url
from dayfly.client.errors import InvalidArgument, LoginFailed
from dayfly.schemas.login import LoginIssuer

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_DISCOVERY: Final = "/.well-known/openid-configuration"
_MAX_BYTES: Final = 512 << 10
_SECONDS: Final = 15.0
"""For one answer: the longest silence."""
_INTERVAL_SECONDS: Final = 5.0
"""Between two polls, if the issuer names none; also what `slow_down` adds."""
_MAX_INTERVAL_SECONDS: Final = 60.0
_MAX_CODE_SECONDS: Final = 3600.0
_REFUSALS: Final = {
    "access_denied": ("login_denied", "the login was denied"),
    "expired_token": ("login_expired", "nobody logged in before the code expired"),
}


@dataclass(frozen=True)
class DeviceCode:
    """What the person does: open `url` and enter `user_code`, or open `complete_url`, within `expires_seconds`."""

    url: str
    user_code: str
    complete_url: str | None
    expires_seconds: float


@dataclass(frozen=True)
class IssuedTokens:
    """The issuer's answer. `bearer`: the token for Dayfly's API."""

    access_token: str = field(repr=False)
    id_token: str | None = field(repr=False)

    @property
    def bearer(self) -> str:
        return self.id_token or self.access_token


@dataclass(frozen=True)
class _Answer:
    status: int
    content: Mapping[str, Any]


def log_in_by_device(
    issuer: LoginIssuer,
    show: Callable[[DeviceCode], None],
    *,
    transport: httpx.BaseTransport | None = None,
    pause: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> IssuedTokens:
    """The tokens, once the person to whom `show` shows the code has logged in. KeyboardInterrupt cancels.

    Raises LoginFailed, and InvalidArgument for an issuer that others could impersonate. `transport`, `pause` and `now`
    are for tests.
    """
    if not is_private_url(issuer.url, loopback_http=True):
        raise InvalidArgument(f"the issuer {issuer.name} has no https:// URL: {issuer.url!r}")
    local = is_loopback(httpx.URL(issuer.url).host)
    with httpx.Client(transport=transport, timeout=_SECONDS, follow_redirects=False, trust_env=not local) as http:
        flow = _Flow(http, issuer)
        authorization_url, token_url = flow.discover()
        device_code, code, interval = flow.request_code(authorization_url)
        show(code)
        deadline = now() + code.expires_seconds
        while (remaining := deadline - now()) > 0:
            pause(min(interval, remaining))
            try:
                answer = flow.poll(token_url, device_code)
            except httpx.TransportError:
                # RFC 8628, 3.5: a time-out doubles the interval. The code stays valid.
                interval = min(2 * interval, _MAX_INTERVAL_SECONDS)
                continue
            if answer.status == 200:
                return flow.tokens(answer)
            interval = flow.next_interval(answer, interval)
    raise LoginFailed(*_REFUSALS["expired_token"])


class _Flow:
    """The requests of one login."""

    def __init__(self, http: httpx.Client, issuer: LoginIssuer) -> None:
        self._http, self._issuer = http, issuer

    def discover(self) -> tuple[str, str]:
        """The endpoints of the device flow and of tokens."""
        answer = self._reached("GET", self._issuer.url.rstrip("/") + _DISCOVERY)
        if answer.status != 200 or answer.content.get("issuer") != self._issuer.url:
            raise self._unusable(f"its discovery document was answered with status {answer.status}, or is of another")
        return self._endpoint(answer, "device_authorization_endpoint"), self._endpoint(answer, "token_endpoint")

    def request_code(self, url: str) -> tuple[str, DeviceCode, float]:
        """The secret code of this device, what the person needs, and the interval of polls."""
        form = {"client_id": self._issuer.client_id, "scope": " ".join(self._issuer.scopes)}
        answer = self._reached("POST", url, form)
        content = answer.content
        given = [content.get(name) for name in ("device_code", "user_code", "verification_uri")]
        if answer.status != 200 or not all(isinstance(one, str) and one for one in given):
            raise self._unusable(_said(answer))
        device_code, user_code, page = (str(one) for one in given)
        complete = content.get("verification_uri_complete")
        code = DeviceCode(
            url=page,
            user_code=user_code,
            complete_url=complete if isinstance(complete, str) else None,
            expires_seconds=_seconds(content.get("expires_in"), _MAX_CODE_SECONDS, _MAX_CODE_SECONDS),
        )
        return device_code, code, _seconds(content.get("interval"), _INTERVAL_SECONDS, _MAX_INTERVAL_SECONDS)

    def poll(self, url: str, device_code: str) -> _Answer:
        """Whether the person has logged in. Raises httpx.TransportError."""
        form = {"grant_type": GRANT, "device_code": device_code, "client_id": self._issuer.client_id}
        return self._request("POST", url, form)

    def next_interval(self, answer: _Answer, interval: float) -> float:
        """The pause before the next poll. Raises LoginFailed where another poll is useless."""
        error = answer.content.get("error")
        if error == "authorization_pending":
            return interval
        if error == "slow_down":
            return min(interval + _INTERVAL_SECONDS, _MAX_INTERVAL_SECONDS)
        if answer.status >= 500 or answer.status == 429:
            return min(2 * interval, _MAX_INTERVAL_SECONDS)
        raise LoginFailed(*_REFUSALS[error]) if error in _REFUSALS else self._unusable(_said(answer))

    def tokens(self, answer: _Answer) -> IssuedTokens:
        access, identity = answer.content.get("access_token"), answer.content.get("id_token")
        if not isinstance(access, str) or not (identity is None or isinstance(identity, str)):
            raise self._unusable("its answer has no token")
        return IssuedTokens(access, identity)

    def _endpoint(self, answer: _Answer, name: str) -> str:
        url = answer.content.get(name)
        local = is_loopback(httpx.URL(self._issuer.url).host)
        if not isinstance(url, str) or not is_private_url(url, loopback_http=local):
            raise self._unusable(f"its discovery document has no usable {name}")
        return url

    def _reached(self, method: str, url: str, form: Mapping[str, str] | None = None) -> _Answer:
        try:
            return self._request(method, url, form)
        except httpx.HTTPError as error:
            message = f"the issuer {self._issuer.name} does not answer: {error or type(error).__name__}"
            raise LoginFailed("login_unavailable", message) from error

    def _request(self, method: str, url: str, form: Mapping[str, str] | None = None) -> _Answer:
        content = bytearray()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        with self._http.stream(method, url, data=form, headers=headers) as answer:
            for piece in answer.iter_raw():
                content += piece
                if len(content) > _MAX_BYTES:
                    raise self._unusable(f"an answer has more than {_MAX_BYTES >> 10} KiB")
        try:
            read = json.loads(content)
        except (ValueError, RecursionError):
            read = None
        # A page of a proxy, for one: its status says enough.
        return _Answer(answer.status_code, read if isinstance(read, dict) else {})

    def _unusable(self, reason: str) -> LoginFailed:
        return LoginFailed("login_unavailable", f"the issuer {self._issuer.name} cannot be used: {reason}")


def _said(answer: _Answer) -> str:
    """Why the issuer refuses, in its own words."""
    error, description = answer.content.get("error"), answer.content.get("error_description")
    words = [word for word in (error, description) if isinstance(word, str)]
    shown = f" ({': '.join(words)[:500]})" if words else ""
    return f"it answered with status {answer.status}{shown}"


def _seconds(given: object, default: float, most: float) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return default
    return min(max(1.0, given), most)  # NaN becomes 1
