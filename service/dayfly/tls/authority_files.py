"""The files of the installation's certificate authority, in the state folder, and of the certificate that it issues.

`authority.crt` and `authority.key` are made once; `server.pem` (key, certificate, authority) is issued again in time.
Several processes may share the folder. Not here: what the certificates contain (domain/security/server_authority.py).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from dayfly.domain.security.server_authority import (
    RENEWED_BEFORE,
    ServerAuthority,
    issue_server_certificate,
    names_in,
    new_authority,
    validity,
)
from dayfly.errors import TlsUnusable

CERTIFICATE: Final = "authority.crt"
KEY: Final = "authority.key"


class AuthorityFiles:
    """The folder of an authority whose certificates are for `names`. `title` is the authority's name for people."""

    def __init__(self, folder: Path, title: str, names: Set[str]) -> None:
        self._folder, self._title, self._names = folder, title, names
        self._checked_names = False

    def paths(self, now: datetime) -> tuple[Path, Path | None]:
        """The file of a certificate that stays valid for a while, issued first if need be. Raises TlsUnusable, OSError.

        The names are compared once: of two processes with other names, the one that started last decides.
        """
        server = self._folder / "server.pem"
        with self._locked():
            authority = self._authority(now)
            if self._is_due(server, authority, now):
                _write(server, self._issue(authority, now), 0o600)
        self._checked_names = True
        return server, None

    def _issue(self, authority: ServerAuthority, now: datetime) -> str:
        try:
            return issue_server_certificate(authority, sorted(self._names), now)
        except ValueError as error:
            # Callers would refuse a certificate that another key has signed.
            raise TlsUnusable(
                f"{self._folder / KEY} is not the key of {CERTIFICATE}: restore both from one backup"
            ) from error

    def _is_due(self, server: Path, authority: ServerAuthority, now: datetime) -> bool:
        try:
            pem = server.read_text()
            valid = validity(pem)
        except (FileNotFoundError, ValueError):
            return True
        if not pem.endswith(authority.certificate) or not valid.holds(now) or valid.ends - now < RENEWED_BEFORE:
            return True
        return not self._checked_names and names_in(pem) != self._names

    def _authority(self, now: datetime) -> ServerAuthority:
        certificate, key = self._folder / CERTIFICATE, self._folder / KEY
        if certificate.exists() and key.exists():
            return ServerAuthority(certificate.read_text(), key.read_text())
        if certificate.exists():
            # Another authority would be refused by all callers who pinned this one.
            raise TlsUnusable(
                f"{key} is missing: restore it from a backup, or remove {certificate} as well: then the service makes "
                "another authority, which callers must pin anew"
            )
        authority = new_authority(self._title, now)
        # The certificate last: an authority of which only the key was written is made again.
        _write(key, authority.key, 0o600)
        _write(certificate, authority.certificate, 0o644)
        return authority

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _write(path: Path, text: str, mode: int) -> None:
    """Replace the file at once: another process reads the old or the new text, and a full disk changes nothing."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)  # whatever the umask
    temporary.replace(path)
