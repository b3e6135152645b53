"""`dayfly backup` and `dayfly restore`. Not here: what is copied (tests/store/test_backup.py)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.store import NewCluster, Store
from tests.support.databases import new_sqlite
from tests.support.specs import make_spec


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYFLY_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def dayfly(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


async def _create(url: str) -> None:
    store = await Store.open(url)
    await store.clusters.create(NewCluster("demo", make_spec()))
    await store.close()


async def _names(url: str) -> list[str]:
    store = await Store.open(url)
    found = [one.name for one in (await store.clusters.list()).clusters]
    await store.close()
    return found


def test_there_and_back(state: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    url = new_sqlite(state / "dayfly.db")
    asyncio.run(_create(url))
    made = dayfly("backup", str(backup))
    assert (made.exit_code, made.stdout) == (0, f"{backup}: {backup.stat().st_size} bytes\n")
    refused = dayfly("restore", str(backup))
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (4, "error [conflict]")
    for file in state.glob("dayfly.db*"):
        file.unlink()
    restored = dayfly("restore", str(backup))
    assert (restored.exit_code, restored.stderr) == (0, "")
    assert asyncio.run(_names(url)) == ["demo"]


def test_each_database_has_its_own_way(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dayfly("restore").stderr == "error [invalid_request]: FILE is missing\n"
    missing = dayfly("backup", str(tmp_path / "x"))
    assert (missing.exit_code, missing.stderr) == (3, f"error [not_found]: there is no database at {state}/dayfly.db\n")
    new_sqlite(state / "dayfly.db")
    nowhere = dayfly("backup", str(tmp_path / "no" / "folder"))
    assert (nowhere.exit_code, nowhere.stderr) == (
        1,
        f"error [not_written]: {tmp_path}/no/folder.part: No such file or directory\n",
    )
    monkeypatch.setenv("DAYFLY_DATABASE_URL", "postgresql+asyncpg://nowhere/dayfly")
    for arguments, program in ((("backup", "x"), "pg_dump"), (("restore", "x"), "pg_restore")):
        refused = dayfly(*arguments)
        assert (refused.exit_code, program in refused.stderr) == (2, True)
