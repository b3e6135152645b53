"""Envelope encryption of the secrets in the database. All is pure.

Each secret has a data key of its own (AES-256-GCM), and the data key is encrypted with a key of the installation. The
place of the secret (table, column, row) is authenticated with both, so that a value that is copied to another row
cannot be opened there. A rotation encrypts data keys again, and leaves the secrets as they are.
Not here: where the keys are (key_sources.py), and which key is in force (store/db/secret_keys.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dayfly.errors import SecretDamaged, SecretsKeyMissing, SecretsKeyUnusable

_FORM: Final = "sealed1"
"""The first part of every sealed text: the form of the rest."""
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class SecretKey:
    """A key of the installation. Its id is derived from the key: two keys with one id are the same."""

    material: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"dayfly secret key\0" + self.material).hexdigest()[:16]

    @property
    def text(self) -> str:
        """As in a file of keys."""
        return base64.b64encode(self.material).decode()


@dataclass(frozen=True)
class Place:
    """The column and the row that a secret is in."""

    table: str
    column: str
    row: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of {self.row}"

    @property
    def authenticated(self) -> bytes:
        return "\0".join((_FORM, self.table, self.column, self.row)).encode()


@dataclass(frozen=True)
class Sealed:
    """An encrypted secret, as the database has it: form, id of the key, encrypted data key, encrypted secret."""

    text: str = field(repr=False)

    @property
    def key_id(self) -> str:
        """The key of the installation that its data key is encrypted with; empty: this is no sealed text."""
        form, _, rest = self.text.partition(":")
        return rest.partition(":")[0] if form == _FORM else ""


@dataclass(frozen=True)
class KeyRing:
    """The keys that a process has; the first is the newest."""

    keys: tuple[SecretKey, ...]

    @property
    def newest(self) -> SecretKey:
        return self.keys[0]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(key.id for key in self.keys)

    def seal(self, text: str, place: Place, key_id: str) -> Sealed:
        """Encrypt with the key `key_id`. Raises SecretsKeyMissing."""
        key, data_key = self._key(key_id), AESGCM.generate_key(8 * _KEY_BYTES)
        content = _encrypt(data_key, text.encode(), place)
        return Sealed(":".join((_FORM, key_id, _encrypt(key.material, data_key, place), content)))

    def open(self, sealed: Sealed, place: Place) -> str:
        """Decrypt. Raises SecretsKeyMissing, SecretDamaged."""
        wrapped, content = _parts(sealed, place)
        data_key = _decrypt(self._key(sealed.key_id).material, wrapped, place)
        return _decrypt(data_key, content, place).decode()

    def rewrap(self, sealed: Sealed, place: Place, key_id: str) -> Sealed:
        """The same secret, its data key encrypted with the key `key_id`. Raises SecretsKeyMissing, SecretDamaged."""
        wrapped, content = _parts(sealed, place)
        data_key = _decrypt(self._key(sealed.key_id).material, wrapped, place)
        return Sealed(":".join((_FORM, key_id, _encrypt(self._key(key_id).material, data_key, place), content)))

    def _key(self, key_id: str) -> SecretKey:
        for key in self.keys:
            if key.id == key_id:
                return key
        raise SecretsKeyMissing(f"the key {key_id} of the database's secrets is not among the keys of this process")


def new_key() -> SecretKey:
    return SecretKey(os.urandom(_KEY_BYTES))


def parse_keys(text: str, origin: str) -> KeyRing:
    """Keys as 32 bytes in base64, one a line, the newest first; `#` begins a comment.

    Raises SecretsKeyUnusable, which names `origin` and quotes nothing.
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    keys = []
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            material = base64.b64decode(line, validate=True)
        except (binascii.Error, ValueError):
            material = b""
        if len(material) != _KEY_BYTES:
            raise SecretsKeyUnusable(
                f"key {number} in {origin} is not {_KEY_BYTES} bytes in base64; `openssl rand -base64 32` makes a key"
            )
        keys.append(SecretKey(material))
    if not keys:
        raise SecretsKeyUnusable(f"{origin} has no key; `openssl rand -base64 32` makes a key")
    return KeyRing(tuple(keys))


def _parts(sealed: Sealed, place: Place) -> tuple[str, str]:
    parts = sealed.text.split(":")
    if len(parts) != 4 or parts[0] != _FORM:
        raise SecretDamaged(f"{place} is not encrypted: it was written by something else than this Dayfly")
    return parts[2], parts[3]


def _encrypt(key: bytes, content: bytes, place: Place) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, content, place.authenticated)).decode()


def _decrypt(key: bytes, text: str, place: Place) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
        return AESGCM(key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], place.authenticated)
    except (InvalidTag, ValueError):
        # No cause: there is nothing to learn from it.
        raise SecretDamaged(f"{place} cannot be decrypted: it was changed outside of Dayfly") from None
