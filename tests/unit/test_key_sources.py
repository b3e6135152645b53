"""Where keys come from: their file is made once, with its mode, and refused where others can read it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.server_settings import server_settings
from dayfly.domain.security.envelope import KeyRing, new_key
from dayfly.errors import SecretsKeyUnusable
from dayfly.key_sources import KeyFile, KeyVariable, key_source
from dayfly.settings import Settings


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "state" / "secrets.key")
    assert file.read(make=False) == KeyRing(())
    assert not file.path.parent.exists()
    made = file.read(make=True)
    assert len(made.keys) == 1
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.read(make=True) == file.read(make=False) == made
    assert [one.name for one in file.path.parent.iterdir()] == ["secrets.key"]


def test_another_key_comes_first_and_the_former_stay(tmp_path: Path) -> None:
    file, key = KeyFile(tmp_path / "secrets.key"), new_key()
    former = file.read(make=True)
    file.add(key)
    assert file.read(make=False).keys == (key, *former.keys)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.path.read_text().count("#") == 2, "its comment is there once"


def test_of_keys_that_are_added_at_once_none_is_lost(tmp_path: Path) -> None:
    file, keys = KeyFile(tmp_path / "secrets.key"), [new_key() for _ in range(16)]
    first = file.read(make=True).newest
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(KeyFile(file.path).add, keys))
    assert set(file.read(make=False).keys) == {first, *keys}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = KeyFile(tmp_path / "real")
    real.read(make=True)
    (tmp_path / "link").symlink_to(real.path)
    KeyFile(tmp_path / "link").add(new_key())
    assert len(real.read(make=False).keys) == 2
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = KeyFile(tmp_path / "secrets.key")
    key = file.read(make=True).newest
    file.path.chmod(mode)
    with pytest.raises(SecretsKeyUnusable, match=f"mode {mode:04o}.*chmod 600") as refused:
        file.read(make=False)
    assert key.text not in refused.value.message
    assert KeyFile(file.path, by_systemd=True).read(make=False).keys == (key,)


def test_what_cannot_be_read_or_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretsKeyUnusable, match="Is a directory"):
        KeyFile(tmp_path).read(make=True)
    (tmp_path / "file").touch()
    with pytest.raises(SecretsKeyUnusable, match=r"cannot be made|Not a directory"):
        KeyFile(tmp_path / "file" / "secrets.key").read(make=True)
    (tmp_path / "bytes").touch(mode=0o600)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretsKeyUnusable, match="it is no text"):
        KeyFile(tmp_path / "bytes").read(make=False)


def test_settings_choose_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_STATE_DIR", str(tmp_path / "state"))
    assert key_source(Settings()) == KeyFile(tmp_path / "state" / "secrets.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert key_source(Settings()) == KeyFile(tmp_path / "state" / "secrets.key"), "the unit has no such credential"
    (tmp_path / "secrets.key").touch()
    assert key_source(Settings()) == KeyFile(tmp_path / "secrets.key", by_systemd=True)
    monkeypatch.setenv("DAYFLY_SECRETS_KEY_FILE", str(tmp_path / "own"))
    assert key_source(Settings()) == KeyFile(tmp_path / "own")
    monkeypatch.delenv("DAYFLY_SECRETS_KEY_FILE")
    one, two = new_key(), new_key()
    monkeypatch.setenv("DAYFLY_SECRETS_KEY", f"{one.text} {two.text}")
    source = key_source(Settings())
    assert isinstance(source, KeyVariable)
    assert source.read(make=False).keys == (one, two)
    assert one.text not in repr(source) + repr(Settings())


def test_two_sources_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_SECRETS_KEY", new_key().text)
    monkeypatch.setenv("DAYFLY_SECRETS_KEY_FILE", "/a/file")
    with pytest.raises(CommandError, match="DAYFLY_SECRETS_KEY and DAYFLY_SECRETS_KEY_FILE are both set"):
        server_settings()
