"""Teams and tokens: what is kept of them, and that names are a team's own."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from sqlalchemy import select, update

from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.clock import SystemClock
from dayfly.domain.quota import Given
from dayfly.domain.security.principal import EVERYWHERE, Reference, Role, Scope
from dayfly.domain.security.token import token_hash, token_id_of
from dayfly.errors import Conflict, InvalidRequest, NameTaken, NotFound, Unauthenticated
from dayfly.operator_token import FILE, prepare_access
from dayfly.settings import Settings
from dayfly.store import CarriedOut, EventFilter, IdempotencyKey, NewPool, NewToken, Store
from dayfly.store.db.access_tables import tokens
from dayfly.vocabulary import TokenKind
from tests.store.helpers import create, several_stores
from tests.support import webhooks
from tests.support.specs import make_spec

ONE, OTHER = Scope("one"), Scope("other")


def new_token(team: str = "default", role: Role = Role.USER, **fields: object) -> NewToken:
    return NewToken(team, "ci", TokenKind.SERVICE, role, "", "token:0", **fields)  # type: ignore[arg-type]


async def test_a_token_is_kept_as_a_hash(store: Store) -> None:
    made, text = await store.tokens.create(new_token(expires_in_seconds=60))
    assert token_id_of(text) == made.id
    assert made.expires_at is not None
    assert (made.expires_at - made.created_at).total_seconds() == 60
    assert await store.tokens.find(made.id) == (made, token_hash(text))
    async with store._database.read() as connection:
        [row] = (await connection.execute(select(tokens))).all()
    assert text.rpartition("_")[2] not in repr(row._asdict())


async def test_a_token_is_revoked_once_and_wakes_who_watches(store: Store) -> None:
    made, _ = await store.tokens.create(new_token())
    with store.watch_tokens() as watch:
        assert not watch.take()
        revoked = await store.tokens.revoke(made.id)
        assert revoked.revoked_at is not None
        assert watch.take()
        assert not watch.take()
        assert await store.tokens.revoke(made.id) == revoked
        assert not watch.take()
    with pytest.raises(NotFound):
        await store.tokens.revoke("0123456789ab")


async def test_a_revocation_wakes_other_processes(server_url: str) -> None:
    async with several_stores(server_url, 2) as (one, other):
        made, _ = await one.tokens.create(new_token())
        with other.watch_tokens() as watch:
            assert await watch.is_heard()
            watch.take()
            await one.tokens.revoke(made.id)
            assert await watch.wait(20)


async def test_another_process_refuses_a_revoked_token(server_url: str) -> None:
    async with several_stores(server_url, 2) as (one, other):
        authenticator = TokenAuthenticator(other, SystemClock())
        made, text = await one.tokens.create(new_token())
        assert await authenticator.authenticate(text) == made.principal
        with other.watch_tokens() as watch:
            await one.tokens.revoke(made.id)
            assert await watch.wait(20)
        with pytest.raises(Unauthenticated, match="revoked"):
            await authenticator.authenticate(text)
        await authenticator.settle()


async def test_nothing_is_remembered_while_other_processes_are_not_heard(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several_stores(server_url, 2) as (one, other):
        authenticator = TokenAuthenticator(other, SystemClock())
        made, text = await one.tokens.create(new_token())

        async def deaf() -> bool:
            return False

        monkeypatch.setattr(authenticator._watch, "_heard", deaf)
        assert await authenticator.authenticate(text) == made.principal
        await one.tokens.revoke(made.id)
        with pytest.raises(Unauthenticated, match="revoked"):
            await authenticator.authenticate(text)
        await authenticator.settle()


async def test_the_last_use_is_written_once_a_minute(store: Store) -> None:
    made, _ = await store.tokens.create(new_token())
    await store.tokens.record_use(made.id)
    first = (await store.tokens.get(made.id)).last_used_at
    assert first is not None
    await store.tokens.record_use(made.id)
    assert (await store.tokens.get(made.id)).last_used_at == first
    async with store._database.write() as transaction:
        await transaction.execute(update(tokens).values(last_used_at=made.created_at.replace(year=2020)))
    await store.tokens.record_use(made.id)
    used = (await store.tokens.get(made.id)).last_used_at
    assert used is not None
    assert used >= first


async def test_a_token_of_no_team_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no team nobody"):
        await store.tokens.create(new_token("nobody"))


async def test_the_first_token_is_made_once(url: str) -> None:
    async with several_stores(url, 3) as stores:
        shown: list[str] = []
        made = await asyncio.gather(*(store.tokens.create_first(shown.append) for store in stores))
        [first], [text] = [one for one in made if one is not None], shown
        assert token_id_of(text) == first.id
        assert (first.role, first.team) == (Role.OPERATOR, "default")
        other, _ = await stores[0].tokens.create(new_token(role=Role.OPERATOR))
        second, second_text = await stores[0].tokens.replace_first()
        assert second_text != text
        revoked = {one.id for one in await stores[0].tokens.list() if one.revoked_at is not None}
        assert revoked == {first.id}
        assert {one.id for one in await stores[0].tokens.list()} == {first.id, second.id, other.id}
        assert await stores[0].tokens.create_first(shown.append) is None
        assert shown == [text]


async def test_a_first_token_that_cannot_be_shown_is_not_made(store: Store) -> None:
    def fail(text: str) -> None:
        raise InvalidRequest("no place to show it")

    with pytest.raises(InvalidRequest):
        await store.tokens.create_first(fail)
    assert await store.tokens.list() == ()


async def test_the_first_token_is_in_a_file_of_its_owner_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    lost = Settings(state_dir=tmp_path / "taken")
    with pytest.raises(InvalidRequest, match=r"operator-token: .*; set DAYFLY_STATE_DIR"):
        await prepare_access(lost, store)
    assert await store.tokens.list() == ()
    settings = Settings(state_dir=tmp_path / "state")
    await prepare_access(settings, store)
    file = tmp_path / "state" / FILE
    [made] = await store.tokens.list()
    assert (stat.S_IMODE(file.stat().st_mode), token_id_of(file.read_text().strip())) == (0o600, made.id)
    file.unlink()
    await prepare_access(settings, store)
    assert not file.exists()


async def test_tokens_and_teams_of_others_are_not_found(store: Store) -> None:
    for name in ("one", "other"):
        await store.teams.create(name, "")
    made, _ = await store.tokens.create(new_token("one"))
    assert await store.tokens.list(scope=ONE) == (made,)
    assert await store.tokens.list(scope=OTHER) == ()
    for refused in (store.tokens.get(made.id, OTHER), store.tokens.revoke(made.id, OTHER)):
        with pytest.raises(NotFound):
            await refused
    assert [team.name for team in await store.teams.list(ONE)] == ["one"]
    with pytest.raises(NotFound):
        await store.teams.get("other", ONE)


async def test_a_team_with_something_stays(store: Store) -> None:
    team = await store.teams.create("one", "")
    assert await store.teams.get(team.id) == team
    with pytest.raises(NameTaken):
        await store.teams.create("one", "")
    made, _ = await store.tokens.create(new_token("one"))
    await create(store, "demo", owner="one")
    with pytest.raises(Conflict, match="has clusters"):
        await store.teams.delete("one")
    with pytest.raises(Conflict, match="cannot be deleted"):
        await store.teams.delete("default")
    await store.teams.create("empty", "")
    of_empty, _ = await store.tokens.create(new_token("empty"))
    await webhooks.create(store, "empty")
    for name in ("empty", "one"):
        await store.quotas.set(Given({"clusters": 1}), name)
    with store.watch_tokens() as watch:
        await store.teams.delete("empty")
        assert watch.take()
    assert await store.tokens.find(of_empty.id) is None
    assert await store.webhooks.list("empty") == (), "the next team of this name would have its events sent there"
    assert set(await store.quotas.given()) == {"one"}
    assert await store.tokens.find(made.id) is not None


async def test_owners_without_a_team_get_one(store: Store) -> None:
    await create(store, "demo", owner="new")
    assert await store.teams.adopt() == ("new",)
    assert await store.teams.adopt() == ()
    assert [team.name for team in await store.teams.list()] == ["default", "new"]


async def test_a_key_of_a_token_or_team_finds_what_was_made(store: Store) -> None:
    key = IdempotencyKey("k", "f")
    team = await store.teams.create("one", "", key)
    with pytest.raises(CarriedOut) as first:
        await store.teams.create("one", "", key)
    assert first.value.use.resource_id == team.id
    made, _ = await store.tokens.create(new_token(), IdempotencyKey("t", "f"))
    with pytest.raises(CarriedOut) as second:
        await store.tokens.create(new_token(), IdempotencyKey("t", "f"))
    assert second.value.use.resource_id == made.id
    await store.maintenance.purge_deleted(-1, limit=10)
    with pytest.raises(CarriedOut):
        await store.idempotency_keys.require_new(key)


async def test_names_are_a_teams_own(store: Store) -> None:
    mine, yours = [await create(store, "demo", owner=name) for name in ("one", "other")]
    with pytest.raises(NameTaken):
        await create(store, "demo", owner="one")
    for scope, found in ((ONE, mine), (OTHER, yours), (Scope("other", is_all=True), yours)):
        assert await store.clusters.get(Reference("demo", scope)) == found
    with pytest.raises(NotFound, match="several teams"):
        await store.clusters.get(Reference("demo", EVERYWHERE))
    for refused in (Reference(yours.id, ONE), Reference("demo", Scope("third"))):
        with pytest.raises(NotFound):
            await store.clusters.get(refused)
        with pytest.raises(NotFound):
            await store.lifecycle.delete(refused)
    assert (await store.clusters.list(scope=ONE)).clusters == (mine,)
    assert (await store.clusters.list(scope=ONE, owner="other")).clusters == ()
    assert (await store.lifecycle.delete(Reference("demo", OTHER))).id == yours.id
    page = await store.event_feed.page(EventFilter(clusters=frozenset({"demo"}), scope=ONE))
    assert {event.cluster_id for event in page.events} <= {mine.id}


async def test_names_of_pools_are_a_teams_own(store: Store) -> None:
    mine, yours = [await store.pools.create(NewPool("warm", name, make_spec(), 1, 1)) for name in ("one", "other")]
    with pytest.raises(NameTaken):
        await store.pools.create(NewPool("warm", "one", make_spec(), 1, 1))
    assert await store.pools.get(Reference("warm", ONE)) == mine
    assert await store.pools.list(OTHER) == (yours,)
    with pytest.raises(NotFound):
        await store.pools.delete(Reference(yours.id, ONE))
    assert set(await store.statistics.count_members()) >= {(mine.id, "ready"), (yours.id, "ready")}


async def test_templates_and_bakes_of_others_are_not_found(store: Store) -> None:
    template, _ = await store.templates.create(make_spec(), "one", "key")
    assert await store.templates.list(scope=ONE) == (template,)
    assert await store.templates.list(scope=OTHER) == ()
    with pytest.raises(NotFound):
        await store.templates.get(template.id, OTHER)
    assert sum((await store.statistics.count_templates(OTHER)).values()) == 0
    assert sum((await store.statistics.count_templates(ONE)).values()) == 1
