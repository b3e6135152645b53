"""The certificate of the API's server: loaded at start, and loaded again when its files change or it is renewed.

A new certificate is for new connections; open ones go on. Files that cannot be used change nothing: the certificate
that was loaded stays, and the log and /metrics say so. Not here: the connections (api/tls_connections.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.domain.security.server_authority import Validity, fingerprint, validity
from dayfly.errors import DayflyError, TlsUnusable
from dayfly.settings import Settings
from dayfly.tls.authority_files import CERTIFICATE, AuthorityFiles

LOOK_SECONDS: Final = 5.0
"""How often the files are read: a certificate is in use so long after its files were replaced."""

_log = structlog.get_logger(__name__)

T = TypeVar("T")
Source = Callable[[datetime], tuple[Path, Path | None]]
"""The files of the certificate (with its chain) and of its key; None: the first file has both. May issue them."""


@dataclass(frozen=True)
class LoadedCertificate:
    """A certificate with its chain as PEM, and the context that serves it."""

    pem: str
    files: tuple[bytes, ...]
    context: ssl.SSLContext
    valid: Validity


class ServerTls:
    """The certificate that new connections get. `start` before use, `run` as long as the service runs."""

    def __init__(self, source: Source, clock: Clock, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._source, self._clock, self._look_seconds = source, clock, look_seconds
        self._loaded: LoadedCertificate | None = None
        self._refused: str | None = None
        """Why the present files are not in use."""

    @property
    def context(self) -> ssl.SSLContext:
        return self.certificate.context

    @property
    def certificate(self) -> LoadedCertificate:
        if self._loaded is None:
            raise RuntimeError("start() loads the certificate")
        return self._loaded

    async def start(self) -> None:
        """Load the certificate. Raises TlsUnusable. An expired one is served: the worker beside the API has to run."""
        loaded = await asyncio.to_thread(load_certificate, self._source, self._clock.now())
        if not loaded.valid.holds(self._clock.now()):
            _log.error("the certificate of the API is not valid now", **_dates(loaded.valid))
        self._use(loaded)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(self._look_seconds)
            await self.look()

    async def look(self) -> None:
        """Use the files as they are now, if they have changed and can be used."""
        now = self._clock.now()
        try:
            found = await asyncio.to_thread(load_certificate, self._source, now)
            if found.files == self.certificate.files:
                self._refused = None
                metrics.tls_reload_failed.set(0)
                return
            if not found.valid.holds(now) and self.certificate.valid.holds(now):
                raise TlsUnusable(f"it is valid from {found.valid.begins:%F %T} to {found.valid.ends:%F %T} UTC only")
        except DayflyError as error:
            metrics.tls_reload_failed.set(1)
            if self._refused != error.message:
                self._refused = error.message
                _log.error("the new certificate is not used, the former one stays", reason=error.message)
            return
        self._use(found)
        _log.info("the certificate was renewed", fingerprint=fingerprint(found.pem), **_dates(found.valid))

    def _use(self, loaded: LoadedCertificate) -> None:
        self._loaded, self._refused = loaded, None
        metrics.tls_reload_failed.set(0)
        metrics.tls_expiry.set(loaded.valid.ends.timestamp())


def server_tls(settings: Settings, clock: Clock) -> ServerTls | None:
    """The TLS that the settings want; None: plain HTTP."""
    source = certificate_source(settings)
    return None if source is None else ServerTls(source, clock)


def certificate_source(settings: Settings) -> Source | None:
    """The files that the settings name, or those of the installation's authority; None: plain HTTP."""
    if settings.tls == "authority":
        title = f"Dayfly {settings.instance} on {settings.host_name}"[:64]
        return AuthorityFiles(tls_folder(settings), title, settings.certificate_names).paths
    if settings.tls_certificate is None or settings.tls == "off":
        return None
    paths = settings.tls_certificate, settings.tls_key
    return lambda _now: paths


def tls_folder(settings: Settings) -> Path:
    return settings.state_dir / "tls"


def pinned_file(settings: Settings) -> Path | None:
    """The file whose last certificate callers pin; None: plain HTTP."""
    if settings.tls == "authority":
        return tls_folder(settings) / CERTIFICATE
    return settings.tls_certificate if settings.tls == "files" else None


def load_certificate(source: Source, now: datetime) -> LoadedCertificate:
    """The certificate in the files of `source`, with a context. Raises TlsUnusable, whose message names the file."""
    certificate, key = _readable("the folder of the authority", lambda: source(now))
    paths = [certificate, *([] if key is None else [key])]
    before = tuple(_readable(str(path), path.read_bytes) for path in paths)
    context = new_server_context()
    named = " with ".join(map(str, paths))
    _readable(named, lambda: context.load_cert_chain(certificate, key, password=_refuse_password))
    valid = _readable(str(certificate), lambda: validity(before[0].decode()))
    if before != tuple(_readable(str(path), path.read_bytes) for path in paths):
        raise TlsUnusable(f"{named} changed while it was read")
    return LoadedCertificate(before[0].decode(), before, context, valid)


def new_server_context() -> ssl.SSLContext:
    """TLS 1.2 and newer, with OpenSSL's choice of ciphers as Python has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_password() -> NoReturn:
    # Without a password callback, OpenSSL asks on the terminal, and the service would wait for ever.
    raise TlsUnusable("the key is encrypted with a password: give a key without one")


def _readable(named: str, read: Callable[[], T]) -> T:
    """What `read` returns. Raises TlsUnusable with what is wrong with `named`."""
    try:
        return read()
    except ssl.SSLError as error:  # first: it is an OSError, with a text of OpenSSL's
        reason = error.reason.lower().replace("_", " ") if error.reason else "no certificate or key in PEM form"
        raise TlsUnusable(f"{named}: {reason}") from error
    except OSError as error:
        raise TlsUnusable(f"{named}: {error.strerror or error}") from error
    except ValueError as error:
        raise TlsUnusable(f"{named}: no certificate in PEM form") from error


def _dates(valid: Validity) -> dict[str, str]:
    return {"begins": f"{valid.begins:%F %T} UTC", "ends": f"{valid.ends:%F %T} UTC"}
