"""OpenPGP signatures of checksum files, verified by gpgv with one key. Not here: checksums (checksums.py)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dayfly.errors import BakeFailed, BaseSignatureExpired, BaseSignatureInvalid
from dayfly.images.process import run

_ARMORED: Final = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]*:[^\n]*\n)*\s*?\n?(?P<data>.*?)(?:\n=[A-Za-z0-9+/]{4})?\s*"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_STATUS: Final = "[GNUPG:] "


async def verify(document: bytes, signature: bytes | None, *, key: Path, fingerprint: str, source: str) -> bytes:
    """The signed content of `document`; `signature` None: it has its signature within. `source` is its name in errors.

    Only the key with `fingerprint`, in the file `key`, counts. Raises BaseSignatureInvalid, BaseSignatureExpired, and
    BakeFailed where gpgv cannot be started.
    """
    with TemporaryDirectory(prefix="dayfly-gpgv.") as name:
        folder = Path(name)
        (folder / "keyring.gpg").write_bytes(_binary_key(key))
        (folder / "document").write_bytes(document)
        argv: list[str | Path] = ["gpgv", "--homedir", folder, "--keyring", folder / "keyring.gpg", "--status-fd", "1"]
        if signature is None:
            argv += ["--output", folder / "signed", folder / "document"]
        else:
            (folder / "signature").write_bytes(signature)
            argv += [folder / "signature", folder / "document"]
        _require_good(await _status(argv), fingerprint, key.name, source)
        return (folder / ("document" if signature is not None else "signed")).read_bytes()


async def _status(argv: Sequence[str | Path]) -> list[list[str]]:
    """gpgv's status lines, each as its words."""
    try:
        output = await run(argv, name="gpgv")
    except BakeFailed as error:
        if _STATUS not in (output := error.evidence.get("output", "")):
            raise
    return [line.removeprefix(_STATUS).split() for line in output.splitlines() if line.startswith(_STATUS)]


def _require_good(status: Sequence[Sequence[str]], fingerprint: str, key: str, source: str) -> None:
    """Return where a signature by the key is good."""
    signatures = list(_signatures(status))
    if any("GOODSIG" in one and _primary_key(one) == fingerprint for one in signatures):
        return
    seen = {word for one in signatures for word in one}
    ours = {word for one in signatures if _primary_key(one) == fingerprint for word in one}
    if "EXPSIG" in ours:
        raise BaseSignatureExpired(f"the signature of {source} has expired")
    if "EXPKEYSIG" in ours:
        raise BaseSignatureExpired(f"the key {fingerprint} ({key}), which signed {source}, has expired")
    if "REVKEYSIG" in ours:
        raise BaseSignatureInvalid(f"the key {fingerprint} ({key}), which signed {source}, is revoked")
    if "BADSIG" in seen:
        raise BaseSignatureInvalid(f"{source} was changed after it was signed")
    if "GOODSIG" in seen:
        raise BaseSignatureInvalid(f"{key} is not the key {fingerprint} that the base names")
    if "NO_PUBKEY" in seen or "ERRSIG" in seen:
        raise BaseSignatureInvalid(f"{source} is signed by another key than {fingerprint} ({key})")
    raise BaseSignatureInvalid(f"{source} is not signed")


def _signatures(status: Sequence[Sequence[str]]) -> Iterator[dict[str, Sequence[str]]]:
    """The status of each signature, by keyword."""
    current: dict[str, Sequence[str]] = {}
    for keyword, *rest in status:
        if keyword == "NEWSIG" and current:
            yield current
            current = {}
        current[keyword] = rest
    yield current


def _primary_key(signature: dict[str, Sequence[str]]) -> str:
    """The fingerprint of the primary key of a cryptographically valid signature; empty for another one."""
    return (signature.get("VALIDSIG") or [""])[-1]


def _binary_key(path: Path) -> bytes:
    """The key as gpgv reads it: not armored. Raises BaseSignatureInvalid."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BaseSignatureInvalid(f"the key {path} cannot be read: {error.strerror}") from error
    if not content.lstrip().startswith(b"-----BEGIN"):
        return content
    blocks = [found["data"] for found in _ARMORED.finditer(content.replace(b"\r\n", b"\n"))]
    try:
        keys = [base64.b64decode(b"".join(block.split()), validate=True) for block in blocks]
    except binascii.Error as error:
        raise BaseSignatureInvalid(f"{path.name} is not an armored OpenPGP key: {error}") from error
    if not keys:
        raise BaseSignatureInvalid(f"{path.name} is not an armored OpenPGP key")
    return b"".join(keys)
