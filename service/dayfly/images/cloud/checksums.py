"""Checksum files of distributions: an image's checksum in one. Not here: who signed the file (signatures.py)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from dayfly.errors import BaseChecksumMissing

_ALGORITHM_OF_LENGTH: Final = {64: "sha256", 128: "sha512"}
_HEX: Final = r"(?P<hex>[0-9a-fA-F]{64}|[0-9a-fA-F]{128})"
_LINES: Final = (
    re.compile(rf"{_HEX}[ \t]+\*?(?P<name>\S+)"),  # coreutils: `HEX  NAME`, `HEX *NAME`
    re.compile(rf"SHA(?:256|512) \((?P<name>[^()]+)\) = {_HEX}"),  # BSD: `SHA256 (NAME) = HEX`
)


def find_checksum(text: str, name: str, source: str) -> str:
    """The checksum (`sha256:…`) of the file `name` in `text`, the content of `source`. Raises BaseChecksumMissing."""
    found = {_checksum(match["hex"]) for match in _matches(text) if match["name"].removeprefix("./") == name}
    strongest = sorted(found, key=len)[-1:]
    if not strongest:
        raise BaseChecksumMissing(f"{source} has no checksum of {name}")
    if len({one for one in found if len(one) == len(strongest[0])}) > 1:
        raise BaseChecksumMissing(f"{source} has several checksums of {name}")
    return strongest[0]


def file_checksum(path: Path, algorithm: str) -> str:
    """The checksum of a file. Blocking: seconds for a large one."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _matches(text: str) -> list[re.Match[str]]:
    lines = (line.strip() for line in text.splitlines())
    return [match for line in lines for pattern in _LINES if (match := pattern.fullmatch(line))]


def _checksum(digits: str) -> str:
    return f"{_ALGORITHM_OF_LENGTH[len(digits)]}:{digits.lower()}"
