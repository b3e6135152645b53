"""The checksum of one image in the files of the distributions."""

from __future__ import annotations

import pytest

from dayfly.errors import BaseChecksumMissing
from dayfly.images.cloud.checksums import find_checksum

A, B, LONG = "a" * 64, "b" * 64, "c" * 128
NAME = "disk-1.qcow2"


@pytest.mark.parametrize(
    "text",
    [
        f"{B}  other.qcow2\n{A}  {NAME}\n",
        f"{A} *{NAME}\n",
        f"{A}  ./{NAME}\n",
        f"{A.upper()}  {NAME}\r\n",
        f"# {NAME}: 528154624 bytes\nSHA256 ({NAME}) = {A}\nSHA256 (other) = {B}\n",
        f"{A}  {NAME}\n{A}  {NAME}\n",
    ],
)
def test_the_forms_of_checksum_files(text: str) -> None:
    assert find_checksum(text, NAME, "SUMS") == f"sha256:{A}"


def test_the_longer_checksum_is_taken() -> None:
    assert find_checksum(f"{A}  {NAME}\n{LONG}  {NAME}\n", NAME, "SUMS") == f"sha512:{LONG}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "SUMS has no checksum of disk-1.qcow2"),
        (f"{A}  {NAME}.sig\n", "no checksum"),
        (f"{A}  x{NAME}\n", "no checksum"),
        (f"{A[:-1]}  {NAME}\n", "no checksum"),
        (f"{A}\n", "no checksum"),
        (f"{A}  {NAME}\n{B}  {NAME}\n", "several checksums"),
    ],
)
def test_a_checksum_that_is_not_there_or_not_clear(text: str, reason: str) -> None:
    with pytest.raises(BaseChecksumMissing, match=reason):
        find_checksum(text, NAME, "SUMS")
