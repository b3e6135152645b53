"""OpenPGP keys of a test's own, made by GnuPG. A private key exists only while its block runs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIMIT_SECONDS: Final = 60


@dataclass(frozen=True)
class SigningKey:
    """A key in a GnuPG folder of its own. `public` is the armoured public key, as Release.key of a repository."""

    home: Path
    name: str

    @property
    def public(self) -> bytes:
        return self._gpg("--armor", "--export")

    def sign_in_line(self, text: bytes) -> bytes:
        """`text` with its signature, as an InRelease file."""
        return self._gpg("--clearsign", stdin=text)

    def sign_apart(self, content: bytes) -> bytes:
        """The armoured signature of `content`, as a Release.gpg file."""
        return self._gpg("--armor", "--detach-sign", stdin=content)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return _run("gpg", "--homedir", str(self.home), "--batch", "--quiet", *arguments, stdin=stdin)


@contextmanager
def signing_key(name: str = "test mirror") -> Iterator[SigningKey]:
    """A new key whose user id is `name`; private key and agent are gone at the end."""
    # The agent's socket is in this folder, and a socket's path is short.
    home = Path(tempfile.mkdtemp(prefix="dayfly-gpg-", dir="/tmp"))
    try:
        _run(
            *("gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""),
            *("--quick-generate-key", name, "ed25519", "sign", "1d"),
        )
        yield SigningKey(home, name)
    finally:
        _run("gpgconf", "--homedir", str(home), "--kill", "all")
        # An agent removes its sockets while it ends.
        shutil.rmtree(home, ignore_errors=True)
        if home.exists():
            shutil.rmtree(home)


def _run(*argv: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=_LIMIT_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.decode(errors='replace')}"
    return done.stdout
