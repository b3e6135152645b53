"""`dayfly builder`, and the setting DAYFLY_BAKES: which process carries bakes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dayfly import app as composition
from dayfly.cli import serve
from dayfly.cli.main import app
from dayfly.clock import SystemClock
from dayfly.concurrency import first_result
from dayfly.domain.bake import ENDED, BakeOrder
from dayfly.images.progress import Report
from dayfly.settings import Settings
from dayfly.store import Store
from tests.support.databases import KEYS, new_sqlite
from tests.support.played_bakes import IMAGE

POSTGRESQL = "postgresql+asyncpg://dayfly@/dayfly"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What each command ran, in place of a process."""
    found: list[dict[str, Any]] = []

    async def run(_: Settings, **parts: bool) -> None:
        found.append({name for name, wanted in parts.items() if wanted})  # type: ignore[arg-type]

    monkeypatch.setattr(serve, "run", run)
    monkeypatch.setenv("DAYFLY_STATE_DIR", str(tmp_path))
    return found


def command(name: str, **environment: str) -> Result:
    return CliRunner().invoke(app, [name], env=environment)


@pytest.mark.parametrize(
    ("name", "environment", "parts"),
    [
        ("serve", {}, {"api", "worker"}),
        ("serve", {"DAYFLY_BAKES": "serve"}, {"api", "worker", "builder"}),
        ("serve", {"DAYFLY_BAKES": "separate", "DAYFLY_DATABASE_URL": POSTGRESQL}, {"api", "worker"}),
        ("api", {"DAYFLY_BAKES": "separate", "DAYFLY_DATABASE_URL": POSTGRESQL}, {"api"}),
        ("worker", {"DAYFLY_BAKES": "serve", "DAYFLY_DATABASE_URL": POSTGRESQL}, {"worker"}),
        ("builder", {"DAYFLY_DATABASE_URL": POSTGRESQL}, {"builder"}),
    ],
)
def test_what_each_command_runs(started: list[Any], name: str, environment: dict[str, str], parts: set[str]) -> None:
    done = command(name, **environment)
    assert (done.exit_code, started) == (0, [parts]), done.output


@pytest.mark.parametrize(
    ("name", "environment", "said"),
    [
        ("builder", {}, "error [sqlite_serves_one_process]: `dayfly builder` needs PostgreSQL"),
        ("serve", {"DAYFLY_BAKES": "separate"}, "error [bad_settings]: DAYFLY_BAKES=separate needs PostgreSQL"),
        (
            "api",
            {"DAYFLY_BAKES": "serve", "DAYFLY_DATABASE_URL": POSTGRESQL},
            "error [bad_settings]: DAYFLY_BAKES=serve is for `dayfly serve`",
        ),
    ],
)
def test_bakes_that_no_process_would_carry_out_are_refused(
    started: list[Any], name: str, environment: dict[str, str], said: str
) -> None:
    done = command(name, **environment)
    assert done.exit_code != 0
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
    assert started == []


async def test_a_builder_is_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[BakeOrder] = []

    async def bake(order: BakeOrder, report: Report, **_: object) -> object:
        orders.append(order)
        return IMAGE

    monkeypatch.setattr(composition, "bake_in_process", bake)
    settings = Settings(state_dir=tmp_path, cache_dir=tmp_path / "cache", docker_host=f"unix://{tmp_path}/none.sock")
    store = await Store.open(new_sqlite(tmp_path / "store" / "dayfly.db"), KEYS)
    order = BakeOrder("bare", {"count": 1})

    async def until_ended() -> None:
        with store.watch(made.id) as watch:
            while (await store.bakes.get(made.id)).phase not in ENDED:
                await watch.wait(1)

    try:
        made = await store.bakes.create(order, "me")
        await first_result(until_ended(), composition.run_builder(settings, store, SystemClock()))
        ended = await store.bakes.get(made.id)
    finally:
        await store.close()
    assert (ended.phase, ended.image, orders) == ("succeeded", IMAGE, [order])
