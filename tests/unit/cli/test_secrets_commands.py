"""`dayfly secrets` beside a service that runs, after the loss of a key, and what a service says that lacks its key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.client import Client
from dayfly.errors import SecretsKeyMissing
from dayfly.key_sources import KeyFile
from dayfly.store import Store
from tests.store.test_secret_keys import save
from tests.support.databases import KEY, KEYS, new_sqlite
from tests.support.service import Service, wait_until_it_answers


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a service that does not run, with the keys of one cluster."""
    monkeypatch.setenv("DAYFLY_STATE_DIR", str(tmp_path / "state"))
    url = new_sqlite(tmp_path / "state" / "dayfly.db")

    async def fill() -> None:
        store = await Store.open(url, KEYS)
        await save(store)
        await store.close()

    asyncio.run(fill())
    return tmp_path / "state"


def dayfly(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["secrets", *arguments])


def keys(state: Path) -> KeyFile:
    return KeyFile(state / "secrets.key")


def test_a_key_is_rotated_while_the_service_runs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_STATE_DIR", service.environment["DAYFLY_STATE_DIR"])
    early = dayfly("rotate")
    assert (early.exit_code, early.stderr.partition(":")[0]) == (3, "error [not_found]")
    service.start("serve")
    wait_until_it_answers(service)
    file = keys(service.folder / "state")
    [former] = file.read(make=False).ids
    with Client(service.url) as client:
        webhook = client.create_webhook("https://hooks.example/")
        done = dayfly("rotate")
        assert (done.exit_code, done.stderr) == (0, "")
        new, kept = file.read(make=False).ids
        assert kept == former
        assert done.stdout.startswith(f"1 secrets have the key {new} now; backups from before need {former}")
        # The service, which never read the new key, writes and reads with it.
        client.create_webhook("https://hooks.example/")
        client.test_webhook(webhook.id)
    shown = json.loads(dayfly("keys", "--json").stdout)
    assert shown["keys"] == [
        {"key": new, "present": True, "use": "in force"},
        {"key": former, "present": True, "use": "none"},
    ]
    log = service.log.read_text()
    assert "secrets_key_missing" not in log
    for key in file.read(make=False).keys:
        assert key.text not in log + done.stdout


def test_a_rotation_that_was_prepared_or_cut_off_uses_the_first_key(state: Path) -> None:
    file = keys(state)
    assert dayfly("rotate").exit_code == 0
    first = file.read(make=False).ids
    file.path.write_text("\n".join(key.text for key in reversed(file.read(make=False).keys)))
    assert dayfly("rotate").exit_code == 0
    assert file.read(make=False).ids == first[::-1], "no third key"
    assert f"{KEY.id}  in force" in dayfly("keys").stdout


def test_a_variable_is_not_written(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_SECRETS_KEY", KEY.text)
    refused = dayfly("rotate")
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (7, "error [secrets_key_unusable]")
    assert "put a new key before the others in DAYFLY_SECRETS_KEY" in refused.stderr


def test_a_service_that_lacks_its_key_does_not_start(state: Path, service: Service) -> None:
    keys(state).path.unlink()
    refused = service.cli("serve", timeout=60)
    assert (refused.returncode, refused.stderr.partition(":")[0]) == (8, "error [secrets_key_missing]")
    [line] = refused.stderr.splitlines()
    assert f"secrets.key lacks the key {KEY.id}" in line
    assert "lost for good" in line
    assert not keys(state).path.exists(), "another key would be of no use"


def test_what_is_lost_with_a_key_is_given_up(state: Path) -> None:
    assert dayfly("abandon").stdout.startswith("no key is lost")
    keys(state).path.unlink()
    listed = dayfly("abandon")
    assert (listed.exit_code, listed.stdout.startswith("cluster "), "--yes" in listed.stderr) == (0, True, True)
    with pytest.raises(SecretsKeyMissing):
        asyncio.run(_desired(state))
    assert dayfly("abandon", "--yes").exit_code == 0
    assert asyncio.run(_desired(state)) == ["absent"]
    assert KEY.id not in dayfly("keys").stdout


async def _desired(state: Path) -> list[str]:
    """Of the clusters that a service finds at its start."""
    store = await Store.open(f"sqlite+aiosqlite:///{state}/dayfly.db", keys(state))
    try:
        return [one.desired for one in (await store.clusters.list()).clusters]
    finally:
        await store.close()
