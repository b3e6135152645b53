"""The certificate authorities that the client trusts: the machine's, those of a file, or one with a known fingerprint.

`fetch_pinned_ca` takes an authority from a server's handshake and compares it with the fingerprint before anything
trusts it. Not here: requests (transport.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from dayfly.addresses import is_loopback
from dayfly.client.credentials import credentials_file, stored_authority
from dayfly.client.errors import InvalidArgument, Unreachable, Untrusted

CA_FILE: Final = "DAYFLY_CA_FILE"
CA_FINGERPRINT: Final = "DAYFLY_CA_FINGERPRINT"
_SECONDS: Final = 10.0
_FINGERPRINT: Final = re.compile(r"(?:sha256:)?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


@dataclass
class PinnedAuthority:
    """An authority that is trusted by its fingerprint, and the context, which trusts nothing before `fetch`."""

    url: str
    fingerprint: str
    context: ssl.SSLContext
    fetched: bool = field(default=False, init=False)

    def fetch(self) -> None:
        """Fetch the authority, unless that is done. Raises as fetch_pinned_ca."""
        if not self.fetched:
            self.context.load_verify_locations(cadata=fetch_pinned_ca(self.url, self.fingerprint))
            self.fetched = True


def trusted(
    url: str, ca_file: str | Path | None, ca_fingerprint: str | None
) -> tuple[ssl.SSLContext | None, PinnedAuthority | None]:
    """What verifies the server at `url`: the arguments, else DAYFLY_CA_FILE or DAYFLY_CA_FINGERPRINT, else what `dayfly
    login` stored, else None. Raises InvalidArgument.
    """
    if ca_file is None and ca_fingerprint is None:
        ca_file, ca_fingerprint = os.environ.get(CA_FILE), os.environ.get(CA_FINGERPRINT)
    if ca_file and ca_fingerprint:
        raise InvalidArgument(f"{CA_FILE} and {CA_FINGERPRINT} are two ways to trust a server: give one")
    if ca_fingerprint:
        parse_fingerprint(ca_fingerprint)
        if httpx.URL(url).scheme != "https":
            raise InvalidArgument(f"a fingerprint of an authority is given, but {url} is no https:// URL")
        context = _new_context()
        return context, PinnedAuthority(url, ca_fingerprint, context)
    if not ca_file:
        stored = stored_authority(httpx.URL(url))
        return (None if stored is None else _trusting(stored)), None
    context = _new_context()
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:  # first: it is an OSError, with a text of OpenSSL's
        raise InvalidArgument(f"{ca_file} ({CA_FILE}) is no file of certificates") from error
    except OSError as error:
        raise InvalidArgument(f"{ca_file} ({CA_FILE}) cannot be read: {error.strerror}") from error
    return context, None


def fetch_pinned_ca(url: str, fingerprint: str) -> str:
    """The authority of the server at `url` as PEM, if its SHA-256 is `fingerprint` (`sha256:<hex>`, or with colons).

    Nothing but GET /healthz is sent before the comparison: no token, no name. Raises Untrusted where the server shows
    no certificate with the fingerprint, InvalidArgument, Unreachable.
    """
    wanted = parse_fingerprint(fingerprint)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # the comparison below verifies
    try:
        given = httpx.URL(url)
        # Without a user and a password, which the URL may have.
        asked = httpx.URL(scheme=given.scheme, host=given.host, port=given.port, path="/healthz")
        trust_env = not is_loopback(given.host)
        with (
            httpx.Client(verify=unverified, trust_env=trust_env, timeout=_SECONDS) as http,
            http.stream("GET", asked) as response,
        ):
            connection = response.extensions["network_stream"].get_extra_info("ssl_object")
            if connection is None:
                raise InvalidArgument(f"{url} has no certificate: it is no https:// URL")
            chain = [one.public_bytes() for one in connection.get_unverified_chain()]
    except httpx.InvalidURL as error:
        raise Unreachable(url, str(error)) from error
    except httpx.RequestError as error:
        raise Unreachable(url, str(error) or type(error).__name__) from error
    shown = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest(): pem for pem in chain}
    if wanted not in shown:
        offered = ", ".join(f"sha256:{one}" for one in shown)
        raise Untrusted(url, f"no certificate that it shows has the fingerprint sha256:{wanted}, but {offered}")
    return str(shown[wanted])


def parse_fingerprint(text: str) -> str:
    """The 64 hexadecimal digits of a fingerprint. Raises InvalidArgument."""
    found = _FINGERPRINT.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(f"{text!r} is no SHA-256 fingerprint: write sha256: and 64 hexadecimal digits")
    return found[1].replace(":", "").lower()


def _trusting(authority: str) -> ssl.SSLContext:
    context = _new_context()
    try:
        context.load_verify_locations(cadata=authority)
    except ssl.SSLError as error:
        raise InvalidArgument(f"{credentials_file()} has an authority that is none: log in again") from error
    return context


def _new_context() -> ssl.SSLContext:
    """Verifies servers, and trusts no authority yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A pinned certificate may be an intermediate one, or a server's own.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
