"""Where the keys of the database's secrets are: a file, systemd's credential or the environment.

Not here: encryption (domain/security/envelope.py), which key is in force (store/db/secret_keys.py).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from pydantic import SecretStr

from dayfly.domain.security.envelope import KeyRing, SecretKey, new_key, parse_keys
from dayfly.errors import SecretsKeyUnusable
from dayfly.secrets_settings import CREDENTIAL
from dayfly.settings import Settings

_HEAD: Final = """\
# Keys of Dayfly's secrets, the newest first. Keep a copy apart from the backups of the database: without its key, the
# keys and kubeconfigs in a database or a backup are lost.
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KeyFile:
    """A file of keys. `by_systemd`: systemd wrote it, and says who may read it."""

    path: Path
    by_systemd: bool = False

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self, *, make: bool) -> KeyRing:
        """As KeySource.read; no keys where the file is missing."""
        try:
            text = self._text()
        except FileNotFoundError:
            if not make:
                return KeyRing(())
            self._make()
            text = self._text()
        return parse_keys(text, self.where)

    def add(self, key: SecretKey) -> None:
        """Make `key` the newest key of the file. Raises SecretsKeyUnusable."""
        try:
            with self._locked():
                former = self._text()
                self._replace(f"{_HEAD}{key.text}\n{former.removeprefix(_HEAD)}")
        except OSError as error:
            raise SecretsKeyUnusable(
                f"{self.path} cannot be written ({error.strerror}): put a new key before the others yourself "
                "(`openssl rand -base64 32`), and repeat the command"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Of two commands that add a key, none loses the other's."""
        lock = os.open(f"{self.path.resolve()}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _text(self) -> str:
        """Raises FileNotFoundError, SecretsKeyUnusable."""
        try:
            with self.path.open() as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except FileNotFoundError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            # Not the text of a decoder's error: it quotes the file.
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SecretsKeyUnusable(f"{self.path}, the keys of the database's secrets: {reason}") from None
        if not self.by_systemd and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SecretsKeyUnusable(
                f"{self.path}, the keys of the database's secrets, may be read by others (mode "
                f"{stat.S_IMODE(mode):04o}): chmod 600 {self.path}"
            )
        return text

    def _make(self) -> None:
        """Make the file with one key, unless another process just has."""
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(part, f"{_HEAD}{new_key().text}\n")
            try:
                os.link(part, self.path)
            except FileExistsError:
                return
            finally:
                part.unlink()
            _sync_folder(self.path.parent)
        except OSError as error:
            raise SecretsKeyUnusable(
                f"{self.path}, the keys of the database's secrets, cannot be made: {error.strerror}; set "
                "DAYFLY_SECRETS_KEY_FILE, or correct the folder's owner"
            ) from error
        _log.warning("the key of the database's secrets was made: keep a copy apart from backups", file=self.where)

    def _replace(self, text: str) -> None:
        """At once, for the same owner: root may rotate the key of a service that runs as another user."""
        path = self.path.resolve()
        owner, part = path.stat(), path.with_name(f"{path.name}.{os.getpid()}.new")
        _write(part, text)
        try:
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(part, owner.st_uid, owner.st_gid)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)


@dataclass(frozen=True)
class KeyVariable:
    """Keys in the variable DAYFLY_SECRETS_KEY."""

    text: SecretStr = field(repr=False)
    where = "DAYFLY_SECRETS_KEY"

    def read(self, *, make: bool) -> KeyRing:  # noqa: ARG002 - a variable cannot be made
        """As KeySource.read. Lines may be separated by blanks, which a variable has more easily."""
        return parse_keys("\n".join(self.text.get_secret_value().split()), self.where)


def key_source(settings: Settings) -> KeyFile | KeyVariable:
    """Where this installation has its keys."""
    if settings.secrets_key is not None:
        return KeyVariable(settings.secrets_key)
    if settings.secrets_key_file is None:
        return KeyFile(settings.state_dir / CREDENTIAL)
    return KeyFile(settings.secrets_key_file, by_systemd=settings.has_credential)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """A key is never in force before its file is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
