"""An OIDC issuer's device flow (RFC 8628), played by an httpx transport: a test sets what the person does, and when.

Not here: discovery and keys for the server (oidc_issuer.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx

URL = "https://issuer.example"
PENDING = (400, {"error": "authorization_pending"})
TOKENS = (200, {"access_token": "opaque", "id_token": "head.body.signature", "token_type": "Bearer"})
Polled = tuple[int, object] | httpx.TransportError


@dataclass
class DeviceIssuer:
    """`polls` are the answers to polls, one after the other; the last one is repeated.

    `now` passes only in pauses, which are in `pauses`. `forms` has what was sent to each path.
    """

    polls: list[Polled] = field(default_factory=lambda: [TOKENS])
    code: dict[str, Any] = field(
        default_factory=lambda: {
            "device_code": "d3vice",
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{URL}/device",
            "verification_uri_complete": f"{URL}/device?code=WDJB-MJHT",
            "expires_in": 600,
        }
    )
    discovery: dict[str, Any] = field(
        default_factory=lambda: {
            "issuer": URL,
            "device_authorization_endpoint": f"{URL}/device_authorization",
            "token_endpoint": f"{URL}/token",
        }
    )
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    """In place of others, by path."""
    forms: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return _json(200, self.discovery)
        form = dict(parse_qsl(request.content.decode()))
        self.forms.append((path, form))
        if path == "/device_authorization":
            return _json(200, self.code)
        polled = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
        if isinstance(polled, httpx.TransportError):
            raise polled
        return _json(*polled)


def _json(status: int, content: object) -> httpx.Response:
    # A stream, as a connection gives it: a content that is read already has no raw bytes.
    return httpx.Response(status, stream=httpx.ByteStream(json.dumps(content).encode()))


def refused(error: str, **more: object) -> tuple[int, Mapping[str, object]]:
    return 400, {"error": error, **more}
