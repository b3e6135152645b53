"""A real OIDC issuer on the loopback address: discovery, keys and tokens; it fails in the ways that a test sets.

It speaks HTTP, or HTTPS with a certificate of a test's own authority. Not here: the endpoints of the device flow
(device_issuer.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.certificates import signed_for

AUDIENCE = "https://dayfly.example"
Response = tuple[int, Mapping[str, str], bytes]
Responder = Callable[[str], Response | None]


@dataclass(frozen=True)
class SigningKey:
    """A key of the issuer, with its id."""

    id: str
    private: RSAPrivateKey | ec.EllipticCurvePrivateKey
    algorithm: str = "RS256"

    @property
    def published(self) -> dict[str, Any]:
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
        else:
            jwk = ECAlgorithm.to_jwk(public, as_dict=True)
        return {**jwk, "kid": self.id, "use": "sig", "alg": self.algorithm}


def rsa_key(key_id: str, bits: int = 2048, algorithm: str = "RS256") -> SigningKey:
    return SigningKey(key_id, rsa.generate_private_key(65537, bits), algorithm)


def elliptic_key(key_id: str) -> SigningKey:
    return SigningKey(key_id, ec.generate_private_key(ec.SECP256R1()), "ES256")


@dataclass
class OidcIssuer:
    """`keys` are published. `requests` has the path of each request.

    `respond`: status, headers and body for a path, in place of the document; None: the document. `slow_seconds`: before
    each answer.
    """

    keys: list[SigningKey]
    requests: list[str] = field(default_factory=list)
    respond: Responder = lambda _: None
    slow_seconds: float = 0.0
    url: str = ""

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[OidcIssuer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    def claims(self, **other: Any) -> dict[str, Any]:
        """Those of a valid token, with `other` in place of some; None: without that claim."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "repo:org/app:ref:refs/heads/main"}
        usual |= {"repository": "org/app", "ref": "refs/heads/main"}
        times = {"iat": now, "nbf": now, "exp": now + 300}
        return {name: value for name, value in {**usual, **times, **other}.items() if value is not None}

    def token(self, key: SigningKey | None = None, headers: Mapping[str, Any] | None = None, **other: Any) -> str:
        """A token that is signed with `key`, the first one of the issuer by default."""
        signer = key or self.keys[0]
        named = {"kid": signer.id, **(headers or {})}
        return jwt.encode(self.claims(**other), signer.private, algorithm=signer.algorithm, headers=named)

    @property
    def documents(self) -> dict[str, Any]:
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [key.published for key in self.keys]},
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.decode().split()[1]
                self.requests.append(path)
                await asyncio.sleep(self.slow_seconds)
                document = self.documents.get(path)
                usual: Response = (404, {}, b"") if document is None else (200, {}, json.dumps(document).encode())
                status, headers, body = self.respond(path) or usual
                lines = {"Connection": "close", "Content-Length": str(len(body)), **headers}
                written = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{written}\r\n".encode() + body)
                await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


def tls_for(host: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate of `host`, and the file of the authority that signed it."""
    signed = signed_for(host)
    files = {name: folder / f"{name}.pem" for name in ("authority", "certificate", "key")}
    for name, path in files.items():
        path.write_text(getattr(signed, name))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["certificate"], files["key"])
    return context, files["authority"]
