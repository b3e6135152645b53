"""The certificate authority of an installation's API, and the certificates that it issues to the API's own server.

Pure values. Not here: their files and their renewal (tls/), and the authorities of clusters (pki.py).
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dayfly.domain.security.pki import key_usage

AUTHORITY_VALID_FOR: Final = timedelta(days=3650)
"""Callers pin the authority: another one would have to be pinned by all of them."""
VALID_FOR: Final = timedelta(days=30)
RENEWED_BEFORE: Final = timedelta(days=10)
"""A third of the time is left for whatever prevents a renewal."""
VALID_BEFORE: Final = timedelta(hours=1)
"""Callers' clocks may lag."""


@dataclass(frozen=True)
class ServerAuthority:
    """A certificate authority as PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Validity:
    """When a certificate is valid."""

    begins: datetime
    ends: datetime

    def holds(self, now: datetime) -> bool:
        return self.begins <= now < self.ends


def new_authority(name: str, now: datetime) -> ServerAuthority:
    """A new authority, whose common name is for people. It signs servers' certificates alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    certificate = (
        _builder(subject, subject, key, now, AUTHORITY_VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return ServerAuthority(certificate.public_bytes(Encoding.PEM).decode(), _private_pem(key))


def issue_server_certificate(authority: ServerAuthority, names: Iterable[str], now: datetime) -> str:
    """A new key with its certificate for `names` (host names and IP addresses), and the authority's: one PEM text.

    The authority is a part, so that a caller can take it from the handshake and compare it with a pinned fingerprint.
    Raises ValueError where the authority's key is none, or that of another certificate.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    try:
        signer = load_pem_private_key(authority.key.encode(), password=None)
    except TypeError as error:
        raise ValueError("the authority's key has a password") from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != issuer.public_key():
        raise ValueError("the authority's key is that of another certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_name("dayfly"), issuer.subject, key, now, VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _private_pem(key) + certificate.public_bytes(Encoding.PEM).decode() + authority.certificate


def names_in(pem: str) -> frozenset[str]:
    """The host names and addresses that the first certificate of `pem` is valid for."""
    try:
        extension = _first(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(one.value) for one in extension.value)


def validity(pem: str) -> Validity:
    """When the first certificate of `pem` is valid. Raises ValueError where it has none."""
    first = _first(pem)
    return Validity(first.not_valid_before_utc, first.not_valid_after_utc)


def fingerprint(pem: str) -> str:
    """`sha256:<hex>` of the last certificate of `pem`, which callers pin: the authority, where the text has it.

    Raises ValueError where there is no certificate.
    """
    _, begin, rest = pem.rpartition("-----BEGIN CERTIFICATE-----")
    return f"sha256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert((begin + rest).strip())).hexdigest()}"


def _first(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem.encode())[0]


def _general(name: str) -> x509.GeneralName:
    try:
        # Without its zone (`%eth0`), which means something on one machine only, and which no certificate has.
        return x509.IPAddress(ip_address(name.partition("%")[0]))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, duration: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID_BEFORE)
        .not_valid_after(now + duration)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
