"""Clusters that come and go at random, and an independent account of what they use.

`UsagePlay` calls the store as API and workers do: creations, admissions, boots, restarts, hibernation, resumption, pool
claims, failures, deletions; kills of workers, new processes, and steps of the database's clock between them. The
account knows only the true time, the sizes and how far the database's clock was off when an interval ended.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Fault, Purpose
from dayfly.domain.usage import Grouping, UsageReport
from dayfly.store import Change, Claim, NewCluster, NewPool, Store
from tests.support.specs import make_spec

LEASE_SECONDS = 60
DAY = 24 * 3600
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WHOLE = Grouping(team=True, principal=True, day=True, labels=("ci",))

Used = tuple[int, int, int]
Key = tuple[str, str, str | None, int]
"""Team, principal, label `ci`, day."""


class PlayedTime(Protocol):
    """The time of a host, and the clock of its database, in milliseconds."""

    def true_ms(self) -> int: ...

    def offset_ms(self) -> int:
        """What the database's clock shows less the true time."""

    def pass_time(self, milliseconds: int) -> None: ...

    def set_clock(self, milliseconds: int) -> None:
        """Set the database's clock forward, or back."""


@dataclass
class Account:
    """Who uses what since when, and the closed intervals by the database's clock at their end."""

    time: PlayedTime
    open: dict[str, tuple[str, str, str | None, Used, int]] = field(default_factory=dict)
    closed: list[tuple[str, str, str | None, Used, int, int]] = field(default_factory=list)

    def now_uses(self, cluster: Cluster, principal: str, used: Used) -> None:
        """From now on, the cluster uses this."""
        self._go_on(cluster.id, (cluster.owner, principal, cluster.spec.labels.get("ci"), used))

    def now_uses_as_before(self, cluster_id: str, used: Used) -> None:
        """As now_uses, by the same team, principal and label."""
        team, principal, label, _, _ = self.open[cluster_id]
        self._go_on(cluster_id, (team, principal, label, used))

    def _go_on(self, cluster_id: str, use: tuple[str, str, str | None, Used]) -> None:
        if cluster_id not in self.open or self.open[cluster_id][:4] != use:
            self.ends(cluster_id)
            self.open[cluster_id] = (*use, self.time.true_ms())

    def ends(self, cluster_id: str) -> None:
        if cluster_id in self.open:
            self.closed.append(self._closed(self.open.pop(cluster_id)))

    def sums(self) -> dict[Key, Counter[str]]:
        """By all that usage can be added up by, until now."""
        found: dict[Key, Counter[str]] = {}
        for team, principal, label, used, begin, end in [*self.closed, *map(self._closed, self.open.values())]:
            for second_day in range(begin // DAY, end // DAY + 1):
                seconds = min(end, (second_day + 1) * DAY) - max(begin, second_day * DAY)
                if seconds > 0:
                    sums = found.setdefault((team, principal, label, second_day), Counter())
                    for name, amount in zip(("vcpu", "memory", "disk"), used, strict=True):
                        sums[name] += amount * seconds
        return found

    def _closed(self, lasting: tuple[str, str, str | None, Used, int]) -> tuple[str, str, str | None, Used, int, int]:
        """In whole seconds. All that lasted while the clock was set began by the clock as it is now."""
        team, principal, label, used, begin = lasting
        off = self.time.offset_ms()
        return team, principal, label, used, (begin + off) // 1000, (self.time.true_ms() + off) // 1000


def whole(cluster: Cluster, factor: float = 1.0) -> Used:
    """What a running cluster of make_spec() uses."""
    nodes = 1 + cluster.spec.workers
    return 2 * nodes, nodes * (math.ceil(512 / factor) + 128) + 64, 8 * nodes


def asleep(cluster: Cluster) -> Used:
    nodes = 1 + cluster.spec.workers
    return 0, 0, 8 * nodes + math.ceil(512 * nodes / 1024)


@dataclass
class UsagePlay:
    """`process` makes a new process on the same database."""

    time: PlayedTime
    process: Callable[[], Store]
    seed: int = 0
    store: Store = field(init=False)
    account: Account = field(init=False)
    random: random.Random = field(init=False)
    principals: dict[str, str] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    kills: int = 0

    def __post_init__(self) -> None:
        self.store, self.account = self.process(), Account(self.time)
        self.random = random.Random(self.seed)  # noqa: S311 - a play

    async def run(self, clusters: int, rounds: int) -> None:
        """Create so many clusters, beside those of a pool, in so many rounds, between which time passes."""
        await self.store.service_clock.serve(starting=True)
        pool = await self.store.pools.create(NewPool("warm", "red", make_spec(), 20, 20))
        for number in range(rounds):
            await self._fill(pool.id)
            await self._create(clusters // rounds)
            await self._admit()
            await self._request()
            await self._work()
            await self._disturb(number)

    async def _fill(self, pool_id: str) -> None:
        before = {member.id for member in await self.store.pools.members(pool_id)}
        await self.store.pools.refill(pool_id, 10, make_spec())
        for member in await self.store.pools.members(pool_id):
            if member.id not in before:
                self.principals[member.id] = f"pool:{pool_id}"

    async def _create(self, count: int) -> None:
        for _ in range(count):
            labels = {"ci": self.random.choice(["unit", "e2e"])} if self.random.random() < 0.8 else {}
            spec = make_spec(workers=self.random.choice([0, 0, 1, 3])).model_copy(update={"labels": labels})
            principal = f"token:{self.random.randrange(5)}"
            factor = self.random.choice([1.0, 2.0])
            team = self.random.choice(["red", "red", "blue", "green"])
            made, _ = await self.store.clusters.create(
                NewCluster(None, spec, team, memory_factor=factor, principal=principal)
            )
            self.principals[made.id] = principal
            if made.reserved:
                self.account.now_uses(made, principal, whole(made))  # a member of the pool
            else:
                self.factors[made.id] = factor

    async def _admit(self) -> None:
        admitted = await self.store.admission.admit(
            lambda queue: [one for one in queue.waiting if self.random.random() < 0.7]
        )
        for cluster_id in admitted:
            cluster = await self.store.clusters.get(cluster_id)
            used = whole(cluster, self.factors.pop(cluster_id, 1.0))
            if cluster.ready_at is not None:
                used = used[0], used[1], asleep(cluster)[2]
            self.account.now_uses(cluster, self.principals[cluster_id], used)

    async def _request(self) -> None:
        """What callers request of their clusters."""
        page = await self.store.clusters.list(limit=500, phases={Phase.READY, Phase.HIBERNATED, Phase.FAILED})
        for cluster in page.clusters:
            chance = self.random.random()
            if cluster.desired is Desired.ABSENT:
                continue
            if chance < 0.15:
                await self.store.lifecycle.delete(cluster.id)
            elif cluster.phase is Phase.HIBERNATED and chance < 0.6:
                await self.store.lifecycle.resume(cluster.id)
            elif cluster.phase is Phase.READY and cluster.desired is Desired.PRESENT and chance < 0.35:
                await self.store.lifecycle.hibernate(cluster.id)
            elif cluster.phase is Phase.READY and chance < 0.5:
                labels = {"ci": self.random.choice(["unit", "nightly"])}
                changed = await self.store.updates.change(cluster.id, Change(labels=labels))
                if cluster.id in self.account.open:
                    self.account.now_uses(changed, self.principals[cluster.id], self.account.open[cluster.id][3])

    async def _work(self) -> None:
        """A worker takes up what is due; it may be killed with some leases in its hands."""
        for claim in await self.store.leases.claim("worker", lease_seconds=LEASE_SECONDS, limit=2000):
            if self.random.random() < 0.05:
                self.kills += 1
                continue
            await self._step(claim)
            self._pass(0, 3000)
            again = self.random.random() < 0.7 or claim.cluster.desired is not Desired.PRESENT
            await self.store.leases.release(claim, due_in_seconds=0 if again else None)

    async def _step(self, claim: Claim) -> None:
        cluster, status = claim.cluster, self.store.status
        chance = self.random.random()
        if cluster.phase is Phase.DELETING:
            await status.set_phase(claim, Phase.DELETED)
            self.account.ends(cluster.id)
        elif cluster.desired is Desired.ABSENT:
            await status.set_phase(claim, Phase.DELETING)
        elif cluster.phase is Phase.PENDING and cluster.reserved:
            began = await self.store.provisioning.begin(claim, IMAGE)
            self.account.now_uses_as_before(began.id, whole(began))
        elif cluster.phase is Phase.PROVISIONING:
            await self._boot(claim, chance)
        elif cluster.phase is Phase.FAILED and cluster.reserved:
            await self._clear(claim, chance)
        elif cluster.phase is Phase.READY and cluster.desired is Desired.HIBERNATED:
            await status.set_phase(claim, Phase.HIBERNATED)
            self.account.now_uses_as_before(cluster.id, asleep(cluster))
        elif cluster.phase is Phase.HIBERNATED and cluster.desired is Desired.PRESENT:
            await status.set_phase(claim, Phase.PENDING)  # it has its disk while it waits
        elif cluster.phase is Phase.READY and chance < 0.3 and not cluster.paused:
            await status.set_phase(claim, Phase.PROVISIONING)  # its machines restart
            self.account.now_uses_as_before(cluster.id, whole(cluster))

    async def _boot(self, claim: Claim, chance: float) -> None:
        cluster = claim.cluster
        if chance < 0.15 and cluster.purpose is Purpose.CLUSTER:
            removed = chance < 0.07
            await self.store.status.set_phase(claim, Phase.FAILED, fault=Fault("boot_failed", "it broke"), free=removed)
            if removed:
                self.account.ends(cluster.id)
            return
        await self.store.status.set_phase(claim, Phase.READY)
        if cluster.purpose is Purpose.POOL_MEMBER:
            await self.store.provisioning.set_paused(claim, paused=True)

    async def _clear(self, claim: Claim, chance: float) -> None:
        cluster = claim.cluster
        if chance < 0.5:
            await self.store.status.free_machines(claim)
            self.account.now_uses_as_before(cluster.id, (0, 64, 8 * (1 + cluster.spec.workers)))
        else:
            await self.store.status.free(claim)
            self.account.ends(cluster.id)

    async def _disturb(self, number: int) -> None:
        """Time passes, the service is stopped, the clock is set: each of them often, and in any order."""
        kinds = ["nothing", "restart", "forward", "back", "restart and set"]
        kind = kinds[number % len(kinds)]
        self._pass(1000, 4 * 3_600_000)
        await self.store.service_clock.serve()
        if kind in {"restart", "restart and set"}:
            self.store = self.process()
        if kind in {"forward", "restart and set"}:
            self.time.set_clock(self.random.randrange(5000, 3 * DAY * 1000))
        if kind == "back":
            self.time.set_clock(-self.random.randrange(5000, DAY * 1000))
        self._pass(0, 10_000)
        if kind == "restart":
            await self.store.service_clock.serve(starting=True)

    def _pass(self, least: int, most: int) -> None:
        self.time.pass_time(self.random.randrange(least, most))


async def check(play: UsagePlay) -> UsageReport:
    """The service's sums are those of the account, to the second, however they are split."""
    expected = play.account.sums()
    usage = play.store.usage
    report = await usage.report(WHOLE, EPOCH)
    found = {}
    for group, used in report.groups():
        assert group.day is not None
        [label] = group.labels
        day = (group.day - EPOCH.date()).days
        key = (group.team, group.principal, label, day)
        found[key] = {"vcpu": used.vcpu_seconds, "memory": used.memory_mib_seconds, "disk": used.disk_gib_seconds}
    assert found == {key: dict(sums) for key, sums in expected.items()}
    total = sum(expected.values(), Counter[str]())
    assert (report.total.vcpu_seconds, report.total.memory_mib_seconds, report.total.disk_gib_seconds) == (
        total["vcpu"],
        total["memory"],
        total["disk"],
    )
    end = datetime.fromtimestamp(report.until, UTC)
    for by in (Grouping(), Grouping(team=True), Grouping(principal=True), Grouping(labels=("ci", "none"))):
        again = await usage.report(by, EPOCH, end)
        assert again.total == report.total
        assert sum(used.disk_gib_seconds for _, used in again.groups()) == total["disk"]
    middle = end - timedelta(days=3, seconds=1)
    halves = [await usage.report(Grouping(), EPOCH, middle), await usage.report(Grouping(), middle, end)]
    assert sum(half.total.vcpu_seconds for half in halves) == total["vcpu"]
    assert sum(half.total.memory_mib_seconds for half in halves) == total["memory"]
    return report
