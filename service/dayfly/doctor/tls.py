"""The check of the API's TLS: whether callers of other machines are served without, and when a certificate ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from dayfly.addresses import is_loopback
from dayfly.doctor.checks import Check
from dayfly.domain.security.server_authority import RENEWED_BEFORE, fingerprint
from dayfly.errors import TlsUnusable
from dayfly.settings import Settings
from dayfly.tls.server_tls import LoadedCertificate, load_certificate, pinned_file, tls_folder

WARNED_BEFORE: Final = timedelta(days=14)
OWN_WARNED_BEFORE: Final = RENEWED_BEFORE / 2
"""A service that runs has renewed its own certificate by then."""


def check_tls(settings: Settings, now: datetime) -> Check:
    """Changes nothing: it issues no certificate."""
    if settings.tls == "off":
        return _without_tls(settings)
    pinned = pinned_file(settings)
    if settings.tls == "authority" and pinned is not None and not pinned.exists():
        return Check("tls", "ok", f"an authority, to be made at the first start in {tls_folder(settings)}")
    own = tls_folder(settings) / "server.pem"
    files = (own, None) if settings.tls_certificate is None else (settings.tls_certificate, settings.tls_key)
    try:
        loaded = load_certificate(lambda _now: files, now)
    except TlsUnusable as error:
        return Check(
            "tls", "fail", error.message, "correct the file; a running service keeps the certificate that it has"
        )
    return _certificate(settings, loaded, now)


def _without_tls(settings: Settings) -> Check:
    if is_loopback(settings.listen_address):
        return Check("tls", "ok", f"off; the API listens on {settings.listen_address}")
    found = f"off, and the API listens on {settings.listen_address}: kubeconfigs and tokens can be read on the way"
    return Check("tls", "warn", found, "set DAYFLY_TLS=authority, or listen on loopback behind a proxy with TLS")


def _certificate(settings: Settings, loaded: LoadedCertificate, now: datetime) -> Check:
    found = f"{settings.tls}; {fingerprint(loaded.pem)}; valid until {loaded.valid.ends:%F %T} UTC"
    own = settings.tls == "authority"
    if not loaded.valid.holds(now):
        advice = "start the service, which renews it" if own else "renew it: the service reads the new file by itself"
        return Check("tls", "fail", f"{found}: not valid now", advice)
    if loaded.valid.ends - now < (OWN_WARNED_BEFORE if own else WARNED_BEFORE):
        advice = "start the service, which renews it; its log has the reason where it runs" if own else "renew it soon"
        return Check("tls", "warn", found, advice)
    return Check("tls", "ok", found)
