"""OpenPGP keys of tests, made by gpg in a folder of their own. Not here: gpgv, which the service starts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_EPOCH = "20200101T000000"


@dataclass(frozen=True)
class SigningKey:
    """A key of `home`; `armored` is the public key as text."""

    home: Path
    fingerprint: str
    armored: str

    @classmethod
    def create(cls, home: Path, *, expires: str = "never", made: str = "") -> SigningKey:
        """`expires`: `never`, or gpg's form of a duration after `made`, a time of the past (default: now)."""
        home.mkdir(mode=0o700, parents=True)
        time = ("--faked-system-time", made) if made else ()
        _gpg(home, *time, "--quick-generate-key", "lab@example.invalid", "ed25519", "sign", expires)
        listed = _gpg(home, "--list-keys", "--with-colons").decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
        return cls(home, fingerprint, _gpg(home, "--armor", "--export").decode())

    def detached(self, content: bytes, *, at: str = "") -> bytes:
        """A signature of `content`; `at`: a time of the past."""
        return _gpg(self.home, *_at(at), "--armor", "--detach-sign", stdin=content)

    def expiring(self, content: bytes) -> bytes:
        """A signature that was valid for one day in 2020."""
        when = ("--faked-system-time", _EPOCH, "--default-sig-expire", "1d")
        return _gpg(self.home, *when, "--armor", "--detach-sign", stdin=content)

    def clear_signed(self, content: bytes) -> bytes:
        return _gpg(self.home, "--clear-sign", stdin=content)

    def binary(self) -> bytes:
        return _gpg(self.home, "--export")

    def end_agent(self) -> None:
        """End the process that gpg leaves for its secret keys."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False, capture_output=True)


def _at(time: str) -> tuple[str, ...]:
    return ("--faked-system-time", time) if time else ()


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback"]
    done = subprocess.run(
        [*command, "--passphrase", "", *arguments], input=stdin, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
