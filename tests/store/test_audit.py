"""Entries of the audit log: written with the change that they record, never changed, removed when they are old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from dayfly.domain.audit import AuditTarget, NewAuditEntry
from dayfly.errors import NameTaken
from dayfly.store import AuditedRequest, AuditFilter, NewCluster, Store, audited_request
from dayfly.store.db.accounting_tables import audit
from tests.store.helpers import create, make_ready, spec_with


def entry(target: AuditTarget | None = None, team: str | None = "red", **fields: object) -> NewAuditEntry:
    shown = {"operation": "createCluster", "status": 202, "code": None, **fields}
    return NewAuditEntry(
        principal="token:1",
        team=team,
        role="user",
        address="unix",
        request_id="abc",
        target=target,
        **shown,  # type: ignore[arg-type]
    )


@contextmanager
def requested() -> Iterator[AuditedRequest]:
    """Within the block, a caller's request is carried out."""
    request = AuditedRequest(entry)
    token = audited_request.set(request)
    try:
        yield request
    finally:
        audited_request.reset(token)


async def test_a_change_and_its_entry_are_one(store: Store) -> None:
    with requested() as request:
        cluster = await create(store, "demo")
    [found] = await store.audit.page(AuditFilter())
    assert found.target == AuditTarget("cluster", cluster.id, "demo")
    assert (found.principal, found.team, found.role, found.status) == ("token:1", "red", "user", 202)
    assert found.at == cluster.created_at
    assert request.committed is not None
    assert request.committed.target == found.target


async def test_a_refused_change_has_no_entry_of_its_own(store: Store) -> None:
    await create(store, "demo")
    with requested() as request, pytest.raises(NameTaken):
        await store.clusters.create(NewCluster("demo", spec_with()))
    assert request.committed is None
    assert await store.audit.page(AuditFilter()) == ()


async def test_what_no_caller_requests_has_no_entry(store: Store) -> None:
    cluster = await make_ready(store, "demo")
    await store.lifecycle.delete(cluster.id)
    assert await store.audit.page(AuditFilter()) == ()


async def test_one_request_has_one_entry_of_what_it_changed(store: Store) -> None:
    with requested():
        cluster = await create(store, "demo")
        await store.lifecycle.delete(cluster.id)
    assert len(await store.audit.page(AuditFilter())) == 1


async def test_entries_are_found_by_what_they_say(store: Store) -> None:
    await store.audit.append(entry(AuditTarget("pool", "0123456789ab", "warm"), operation="createPool"))
    await store.audit.append(entry(None, None, operation=None, status=404, code="not_found"))
    await store.audit.append(entry(AuditTarget("cluster", None, "demo"), "blue"))
    newest, middle, oldest = await store.audit.page(AuditFilter())
    assert await store.audit.newest() == newest.id > middle.id > oldest.id
    assert (middle.operation, middle.target, middle.code) == (None, None, "not_found")
    for which, wanted in (
        (AuditFilter(team="blue"), [newest]),
        (AuditFilter(operation="createPool"), [oldest]),
        (AuditFilter(target="warm"), [oldest]),
        (AuditFilter(target="0123456789ab"), [oldest]),
        (AuditFilter(principal="token:1"), [newest, middle, oldest]),
        (AuditFilter(principal="token:2"), []),
        (AuditFilter(until=oldest.at), []),
        (AuditFilter(since=oldest.at, team="red"), [oldest]),
    ):
        assert list(await store.audit.page(which)) == wanted
    assert await store.audit.page(AuditFilter(), before=newest.id, limit=1) == (middle,)
    assert await store.audit.next(AuditFilter(), after=0, until=middle.id, limit=1) == ((oldest,), oldest.id)
    assert await store.audit.next(AuditFilter(), after=oldest.id, until=middle.id, limit=5) == ((middle,), middle.id)
    assert await store.audit.next(AuditFilter(team="blue"), after=0, until=middle.id, limit=5) == ((), middle.id)


async def test_old_entries_are_purged_in_small_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dayfly.store.maintenance._PURGED", 2)
    for _ in range(5):
        await store.audit.append(entry())
    kept = 3600.0
    assert await store.maintenance.purge_accounts(usage_seconds=kept, audit_seconds=kept) == 0
    assert await store.maintenance.purge_accounts(usage_seconds=kept, audit_seconds=-kept) == 5
    async with store._database.read() as connection:
        assert (await connection.execute(select(audit))).all() == []
