"""Checksum files count only with a good signature by the base's own key, be it detached or within the file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dayfly import assets, errors
from dayfly.images.cloud.fetch import fetch_image
from dayfly.images.cloud.signatures import _binary_key, verify
from dayfly.images.cloud_base import CloudBase
from dayfly.images.recipe import base_names, load_any_base
from tests.support.clock import FakeClock
from tests.support.cloud_bases import cloud_base, sha256
from tests.support.file_server import FileServer
from tests.support.signing_keys import SigningKey

CONTENT = b"a disk" * 1000
SUMS = f"{sha256(CONTENT).partition(':')[2]}  disk.qcow2\n".encode()
SOURCE = "SHA256SUMS"


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, SigningKey]]:
    # gpg's agent has a socket in this folder, whose path must be short.
    folder = Path(tempfile.mkdtemp(prefix="dayfly-keys."))
    made = {
        "ours": SigningKey.create(folder / "a"),
        "other": SigningKey.create(folder / "b"),
        "expired": SigningKey.create(folder / "c", expires="10d", made="20200101T000000"),
    }
    yield made
    for key in made.values():
        key.end_agent()
    shutil.rmtree(folder)


@pytest.fixture
def key_file(tmp_path: Path, keys: dict[str, SigningKey]) -> Path:
    path = tmp_path / "lab.asc"
    path.write_text(keys["ours"].armored)
    return path


def write(path: Path, key: str | bytes) -> None:
    path.write_bytes(key.encode() if isinstance(key, str) else key)


async def check(
    keys: dict[str, SigningKey], key_file: Path, signature: bytes | None, document: bytes = SUMS, key: str = "ours"
) -> bytes:
    return await verify(document, signature, key=key_file, fingerprint=keys[key].fingerprint, source=SOURCE)


async def test_a_good_detached_signature(keys: dict[str, SigningKey], key_file: Path) -> None:
    assert await check(keys, key_file, keys["ours"].detached(SUMS)) == SUMS
    write(key_file, keys["ours"].binary())
    assert await check(keys, key_file, keys["ours"].detached(SUMS)) == SUMS


async def test_of_a_file_with_its_signature_within_only_the_signed_lines_count(
    keys: dict[str, SigningKey], key_file: Path
) -> None:
    signed = keys["ours"].clear_signed(SUMS)
    forged = b"0" * 64 + b"  disk.qcow2\n"
    assert await check(keys, key_file, None, forged + signed + forged) == SUMS
    with pytest.raises(errors.BaseSignatureInvalid, match="was changed after it was signed"):
        await check(keys, key_file, None, signed.replace(b"  disk", b"  dusk"))
    with pytest.raises(errors.BaseSignatureInvalid, match="SHA256SUMS is not signed"):
        await check(keys, key_file, None, SUMS)


async def test_a_signature_by_another_key(keys: dict[str, SigningKey], key_file: Path) -> None:
    with pytest.raises(errors.BaseSignatureInvalid, match="is signed by another key than") as refused:
        await check(keys, key_file, keys["other"].detached(SUMS))
    assert refused.value.code == "base_signature_invalid"


async def test_a_key_file_with_another_key_than_the_base_names(keys: dict[str, SigningKey], key_file: Path) -> None:
    write(key_file, keys["other"].armored)
    with pytest.raises(errors.BaseSignatureInvalid, match="is not the key"):
        await check(keys, key_file, keys["other"].detached(SUMS))


async def test_one_of_several_signatures_is_enough(keys: dict[str, SigningKey], key_file: Path) -> None:
    both = keys["other"].detached(SUMS) + keys["ours"].detached(SUMS)
    assert await check(keys, key_file, both) == SUMS


async def test_a_changed_file(keys: dict[str, SigningKey], key_file: Path) -> None:
    with pytest.raises(errors.BaseSignatureInvalid, match="was changed after it was signed"):
        await check(keys, key_file, keys["ours"].detached(SUMS), SUMS + b"\n")


async def test_a_signature_that_has_expired(keys: dict[str, SigningKey], key_file: Path) -> None:
    key = SigningKey.create(keys["ours"].home.parent / "d", made="20190101T000000")
    write(key_file, key.armored)
    with pytest.raises(errors.BaseSignatureExpired, match="the signature of SHA256SUMS has expired") as refused:
        await verify(SUMS, key.expiring(SUMS), key=key_file, fingerprint=key.fingerprint, source=SOURCE)
    key.end_agent()
    assert refused.value.code == "base_signature_expired"


async def test_a_key_that_has_expired(keys: dict[str, SigningKey], key_file: Path) -> None:
    write(key_file, keys["expired"].armored)
    signature = keys["expired"].detached(SUMS, at="20200102T000000")
    with pytest.raises(errors.BaseSignatureExpired, match="which signed SHA256SUMS, has expired"):
        await check(keys, key_file, signature, key="expired")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!\n-----END PGP PUBLIC KEY BLOCK-----", "is not an armored"),
        (b"-----BEGIN CERTIFICATE-----\n", "is not an armored"),
    ],
)
async def test_a_key_file_without_a_key(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "lab.asc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.BaseSignatureInvalid, match=reason):
        _binary_key(path)


async def test_an_image_with_signed_checksums_is_fetched(
    keys: dict[str, SigningKey], key_file: Path, tmp_path: Path
) -> None:
    async with FileServer(CONTENT).serving() as server:
        folder = server.url.rpartition("/")[0]
        server.other = {"/images/SUMS": SUMS, "/images/SUMS.asc": keys["ours"].detached(SUMS)}
        base = cloud_base(
            url=server.url,
            checksum=None,
            signed_checksums={
                "url": f"{folder}/SUMS",
                "signature": f"{folder}/SUMS.asc",
                "key": key_file.name,
                "fingerprint": keys["ours"].fingerprint,
            },
        )

        async def fetch() -> Path:
            async with httpx.AsyncHTTPTransport() as transport:
                return await fetch_image(
                    base,
                    root=key_file.parent,
                    cache_dir=tmp_path / "cache",
                    clock=FakeClock(),
                    on_line=lambda _: None,
                    transport=transport,
                )

        assert (await fetch()).read_bytes() == CONTENT
        other = SUMS.replace(b"disk.qcow2", b"dusk.qcow2")
        server.other = {"/images/SUMS": other, "/images/SUMS.asc": keys["ours"].detached(other)}
        with pytest.raises(errors.BaseChecksumMissing, match=r"SUMS has no checksum of disk\.qcow2") as refused:
            await fetch()
        assert refused.value.code == "base_checksum_missing"
        server.other = {"/images/SUMS": SUMS, "/images/SUMS.asc": keys["other"].detached(SUMS)}
        with pytest.raises(errors.BaseSignatureInvalid):
            await fetch()
        assert len(server.requests) == 1, "no image is downloaded without a good checksum"


@pytest.mark.parametrize("name", base_names())
def test_every_key_of_a_base_is_there_and_has_the_fingerprint(name: str, tmp_path: Path) -> None:
    base = load_any_base(name)
    if not isinstance(base, CloudBase) or base.signed_checksums is None:
        return
    command = ["gpg", "--homedir", str(tmp_path), "--batch", "--show-keys", "--with-colons"]
    found = subprocess.run(
        [*command, assets.provisioning() / base.signed_checksums.key], capture_output=True, text=True, check=True
    )
    assert f"::{base.signed_checksums.fingerprint}:" in found.stdout
