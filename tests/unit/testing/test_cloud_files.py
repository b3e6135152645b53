"""A published cloud image: checksums and signatures that the distributions' own programs accept or refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mirror.cloud_files import CLEAR_SIGNED, KEY, SUMS, SUMS_SIGNATURE, publish
from tests.support.mirror.signing import SigningKey, signing_key

NAME = "some.qcow2"


@pytest.fixture(scope="module")
def key() -> Iterator[SigningKey]:
    with signing_key() as key:
        yield key


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"QFI\xfb" * 1000)
    return path


def check_sums(folder: Path, sums: Path) -> bool:
    done = subprocess.run(["sha256sum", "--check", "--status", sums], cwd=folder, check=False)
    return done.returncode == 0


def verify(folder: Path, *files: str) -> bool:
    """Whether the published key has signed `files`, by gpgv."""
    keyring = folder.parent / "keyring.gpg"
    subprocess.run(["gpg", "--batch", "--yes", "--dearmor", "--output", keyring, folder / KEY], check=True)
    done = subprocess.run(["gpgv", "--keyring", keyring, *files], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


def test_checksums_and_signatures_of_a_whole_image(image: Path, key: SigningKey, tmp_path: Path) -> None:
    published = publish(image, tmp_path / "served", key, name=NAME)
    folder = published.folder
    assert (folder / NAME).read_bytes() == image.read_bytes()
    assert check_sums(folder, folder / SUMS)
    assert verify(folder, SUMS_SIGNATURE, SUMS)
    assert verify(folder, CLEAR_SIGNED)
    lines = (folder / CLEAR_SIGNED).read_text().splitlines()
    assert f"SHA256 ({NAME}) = {published.sha256}" in lines
    (tmp_path / "bsd").write_text(f"SHA256 ({NAME}) = {published.sha256}\n")
    assert check_sums(folder, tmp_path / "bsd")


def test_a_truncated_image(image: Path, key: SigningKey, tmp_path: Path) -> None:
    folder = publish(image, tmp_path / "served", key, name=NAME, cut_at=100).folder
    assert (folder / NAME).stat().st_size == 100
    assert not check_sums(folder, folder / SUMS)
    assert verify(folder, SUMS_SIGNATURE, SUMS)


def test_a_wrong_checksum_is_signed_all_the_same(image: Path, key: SigningKey, tmp_path: Path) -> None:
    folder = publish(image, tmp_path / "served", key, name=NAME, sha256="0" * 64).folder
    assert not check_sums(folder, folder / SUMS)
    assert verify(folder, SUMS_SIGNATURE, SUMS)


def test_a_forgers_signature(image: Path, key: SigningKey, tmp_path: Path) -> None:
    with signing_key("forger") as forger:
        folder = publish(image, tmp_path / "served", key, name=NAME, signer=forger).folder
    assert check_sums(folder, folder / SUMS)
    assert not verify(folder, SUMS_SIGNATURE, SUMS)
    assert not verify(folder, CLEAR_SIGNED)


def test_nothing_of_a_key_is_left() -> None:
    with signing_key() as key:
        home = key.home
        assert b"PGP PUBLIC KEY" in key.public
        assert b"PRIVATE" not in key.public
        # The agent that GnuPG has started for this key.
        assert agents(home)
    assert not home.exists()
    assert not agents(home)


def agents(home: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "gpg-agent" in command and str(home) in command:
            found.append(command)
    return found
