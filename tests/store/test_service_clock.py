"""Changes of the clock, suspended hosts and stopped services neither end nor prolong a cluster."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, select, update

from dayfly.clock import BootTime, boot_time
from dayfly.controllers.serving import LOOK_SECONDS
from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.domain.template import is_worn
from dayfly.schemas.cluster_requests import MIN_HEARTBEAT_SECONDS
from dayfly.store import Change, Store
from dayfly.store.clusters.service_clock import FUTURE, GAP, PAST, TEMPLATE_PAST
from dayfly.store.db.tables import clusters, service_clock, templates
from tests.store.helpers import (
    LEASE_SECONDS,
    claim_new,
    claim_one,
    make_ready,
    make_template,
    set_back,
    several_stores,
)

_HOURS = 2 * 3600.0
_NEAR = 2.0
_DAY = 24 * 3600.0
_TIMES: dict[Table, list[str]] = {
    clusters: [*PAST, *FUTURE, "due_at"],
    templates: [*TEMPLATE_PAST],
    service_clock: ["served_at", "seen_at"],
}


@dataclass
class Host:
    """Processes on one database, whose clock no test can set: instead, all stored and cached times are moved back."""

    store: Store
    passed: float = 0.0
    processes: list[Store] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def process(self, boot_id: str = "first") -> Store:
        """A process that starts now."""

        def clock() -> BootTime:
            return BootTime(boot_id, boot_time().seconds + self.passed)

        started = Store(self.store._database, clock)
        self.processes.append(started)
        return started

    async def set_clock(self, seconds: float) -> None:
        """The database's clock is set forward, or back if negative."""
        past = timedelta(seconds=seconds)
        for process in self.processes:
            if (last := process.service_clock._last) is not None:
                process.service_clock._last = replace(last, now=last.now - past)
        async with self.store._database.write() as transaction:
            for table, names in _TIMES.items():
                for row in (await transaction.connection.execute(select(table))).mappings().all():
                    values = {name: row[name] - past for name in names if row[name] is not None}
                    [key] = table.primary_key.columns
                    same = key == row[key.name]
                    await transaction.connection.execute(update(table).where(same).values(values))

    async def pass_time(self, seconds: float) -> None:
        """Time passes on both clocks, and no process runs."""
        self.passed += seconds
        await self.set_clock(seconds)

    def check_left(self, moment: datetime | None, seconds: float) -> None:
        """`seconds` are left until `moment`, less what the test has taken so far: a busy machine takes its time."""
        assert moment is not None
        left = (moment - datetime.now(UTC)).total_seconds()
        assert seconds - _NEAR - (time.monotonic() - self.began) < left < seconds + _NEAR


@pytest.fixture
def host(store: Store) -> Host:
    return Host(store)


async def desired_after_claims(store: Store, cluster: Cluster) -> Desired:
    await store.maintenance.requeue([cluster.id])
    claim = await claim_one(store)
    await store.leases.release(claim, due_in_seconds=None)
    return claim.cluster.desired


@pytest.mark.parametrize("jump", [_HOURS, -_HOURS])
async def test_a_set_clock_neither_ends_nor_prolongs(host: Host, jump: float) -> None:
    process = host.process()
    hold = Hold(datetime.now(UTC) + timedelta(seconds=1800), "somebody looks at it")
    fields = {"ttl_seconds": 600, "heartbeat_interval_seconds": 300}
    cluster = await make_ready(process, "one", **fields)
    await process.updates.change(cluster.id, Change(hold=hold))
    await process.service_clock.serve()
    await host.set_clock(jump)
    assert await desired_after_claims(process, cluster) is Desired.PRESENT
    found = await process.clusters.get(cluster.id)
    assert found.hold is not None
    host.check_left(found.expires_at, 300)
    host.check_left(found.hold.until, 1800)
    assert found.created_at <= (found.ready_at or found.created_at)


@pytest.mark.parametrize("jump", [_HOURS, -_HOURS])
async def test_several_processes_correct_a_set_clock_once(host: Host, jump: float) -> None:
    processes = [host.process() for _ in range(3)]
    cluster = await make_ready(processes[0], ttl_seconds=600)
    for process in processes:
        await process.service_clock.serve()
    await host.set_clock(jump)
    for process in processes * 2:
        await process.service_clock.serve()
    late = host.process()
    await late.service_clock.serve()
    host.check_left((await late.clusters.get(cluster.id)).expires_at, 600)


@pytest.mark.parametrize("jump", [_HOURS, -_HOURS])
async def test_a_clock_that_was_set_while_the_service_was_stopped(host: Host, jump: float) -> None:
    first = host.process()
    cluster = await make_ready(first, ttl_seconds=600)
    await first.service_clock.serve()
    await host.pass_time(100)
    await host.set_clock(jump)
    host.processes.clear()
    await host.process().service_clock.serve(starting=True)
    found = await first.clusters.get(cluster.id)
    host.check_left(found.expires_at, 500)


async def test_after_a_boot_a_clock_behind_its_own_past_was_set_back(host: Host) -> None:
    first = host.process()
    cluster = await make_ready(first, ttl_seconds=600)
    await first.service_clock.serve()
    await host.set_clock(-_HOURS)
    await host.process(boot_id="second").service_clock.serve(starting=True)
    host.check_left((await first.clusters.get(cluster.id)).expires_at, 600)


async def test_a_lease_further_ahead_than_any_can_be_is_over(host: Host) -> None:
    dead = await claim_new(host.process())
    await host.set_clock(-_HOURS)
    # No record of the clock: its first process starts now.
    heir = await claim_one(host.process(), "heir")
    assert heir.cluster.id == dead.cluster.id


@pytest.mark.parametrize("jump", [_HOURS, -_HOURS])
async def test_what_was_written_before_the_correction_stays(host: Host, jump: float) -> None:
    process = host.process()
    cluster = await make_ready(process, heartbeat_interval_seconds=60)
    await process.service_clock.serve()
    await host.pass_time(5)
    await host.set_clock(jump)
    await process.updates.heartbeat(cluster.id)
    assert await desired_after_claims(process, cluster) is Desired.PRESENT
    host.check_left((await process.clusters.get(cluster.id)).expires_at, 60)


@pytest.mark.parametrize("jump", [8 * _DAY, -8 * _DAY])
async def test_a_set_clock_makes_no_template_old_or_unused(host: Host, jump: float) -> None:
    process = host.process()
    template = await make_template(process)
    claim = await claim_new(process)
    await process.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    await host.set_clock(jump)
    await process.service_clock.correct()
    found = await process.templates.get(template.id)
    assert found.ready_at is not None
    for moment in (found.created_at, found.ready_at, found.last_used_at):
        host.check_left(moment, 0)
    assert not is_worn(found, datetime.now(UTC), max_age_seconds=_DAY, unused_seconds=_DAY)


async def test_a_live_lease_is_not_taken_when_the_clock_is_set(host: Host) -> None:
    worker, other = host.process(), host.process()
    claim = await claim_new(worker)
    assert await other.leases.claim("other", lease_seconds=LEASE_SECONDS, limit=1) == ()
    for jump in (_HOURS, -2 * _HOURS):
        await host.set_clock(jump)
        assert await other.leases.claim("other", lease_seconds=LEASE_SECONDS, limit=1) == ()
        await worker.leases.renew(claim, lease_seconds=LEASE_SECONDS)


@pytest.mark.parametrize("first", ["worker", "api"])
async def test_a_stopped_service_grants_one_full_heartbeat_interval(host: Host, first: str) -> None:
    before = host.process()
    cluster = await make_ready(before, heartbeat_interval_seconds=6)
    await before.service_clock.serve()
    await host.pass_time(10)
    worker, api = host.process(), host.process()
    if first == "api":
        await api.service_clock.serve(starting=True)
    assert await desired_after_claims(worker, cluster) is Desired.PRESENT
    await api.service_clock.serve(starting=True)
    found = await api.clusters.get(cluster.id)
    host.check_left(found.expires_at, 6)


async def test_a_short_stop_grants_a_full_interval_too(host: Host) -> None:
    before = host.process()
    cluster = await make_ready(before, heartbeat_interval_seconds=6)
    await before.service_clock.serve()
    await host.pass_time(4)
    await host.process().service_clock.serve(starting=True)
    host.check_left((await before.clusters.get(cluster.id)).expires_at, 6)


@pytest.mark.parametrize("seconds", [3, 4, 5])
async def test_a_loop_that_was_held_up_grants_the_shortest_interval(host: Host, seconds: float) -> None:
    """A heartbeat came 2 s before the stop; the next heartbeat waits in the socket."""
    process = host.process()
    cluster = await make_ready(process, heartbeat_interval_seconds=MIN_HEARTBEAT_SECONDS)
    await host.pass_time(2)
    await process.service_clock.serve()
    await host.pass_time(seconds)
    assert await desired_after_claims(process, cluster) is Desired.PRESENT
    host.check_left((await process.clusters.get(cluster.id)).expires_at, MIN_HEARTBEAT_SECONDS)


def test_a_stop_that_is_not_noticed_ends_no_cluster() -> None:
    """A caller beats at a third of its interval."""
    longest = GAP.total_seconds() + MIN_HEARTBEAT_SECONDS / 3
    assert longest < MIN_HEARTBEAT_SECONDS
    assert GAP.total_seconds() > 2 * LOOK_SECONDS, "a record may be late"


async def test_a_suspended_host_grants_one_full_interval(host: Host) -> None:
    process = host.process()
    cluster = await make_ready(process, heartbeat_interval_seconds=30, idle_seconds=60)
    await set_back(process, cluster.id, clusters.c.active_at, 10)
    await process.service_clock.serve()
    await host.pass_time(_HOURS)
    assert await desired_after_claims(process, cluster) is Desired.PRESENT
    found = await process.clusters.get(cluster.id)
    host.check_left(found.expires_at, 30)
    host.check_left(found.active_at, 0)


async def test_while_the_api_serves_silence_still_ends_a_cluster(host: Host) -> None:
    process = host.process()
    cluster = await make_ready(process, heartbeat_interval_seconds=6)
    for _ in range(4):
        await process.service_clock.serve()
        await host.pass_time(2)
    await process.service_clock.serve()
    assert await desired_after_claims(process, cluster) is Desired.ABSENT


async def test_time_to_live_counts_stopped_time(host: Host) -> None:
    before = host.process()
    cluster = await make_ready(before, ttl_seconds=600)
    await before.service_clock.serve()
    await host.pass_time(601)
    started = host.process()
    await started.service_clock.serve(starting=True)
    assert await desired_after_claims(started, cluster) is Desired.ABSENT


async def test_workers_of_several_processes_correct_at_once(server_url: str) -> None:
    async with several_stores(server_url, 3) as stores:
        host = Host(stores[0])
        cluster = await make_ready(stores[0], heartbeat_interval_seconds=600)
        for store in stores:
            store.service_clock._last = None
            await store.service_clock.serve()
        host.processes = list(stores)
        await host.set_clock(_HOURS)
        await asyncio.gather(*(store.service_clock.serve() for store in stores))
        found = await stores[1].clusters.get(cluster.id)
        assert found.phase is Phase.READY
        host.check_left(found.expires_at, 600)
