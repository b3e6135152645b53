"""The claim loop: claims clusters that are due by lease, has each reconciled, and releases the lease.

A worker may die at any instruction: its leases expire, and another worker continues.
Not here: what a pass does (reconciler.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.concurrency import first_result
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.outcome import Outcome, RequeueAfter
from dayfly.errors import DatabaseUnavailable, DayflyError, InfrastructureError, LeaseLost
from dayfly.store import Claim, Store, Watch

_log = structlog.get_logger(__name__)

_AWAY_SECONDS: Final = 0.5


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker; times in seconds."""

    name: str
    concurrency: int
    lease_seconds: float
    poll_seconds: float
    defect_pause_seconds: float = 10.0


@dataclass(frozen=True)
class Worker:
    """One claim loop; `reconcile` reconciles a claimed cluster (reconciler.py).

    Cancel `run()` to stop it: running passes are cancelled and their leases released.
    """

    store: Store
    reconcile: Callable[[Claim], Awaitable[Outcome]]
    options: WorkerOptions
    outages: Outages
    clock: Clock

    async def run(self) -> None:
        """Until cancelled."""
        slots = asyncio.Semaphore(self.options.concurrency)
        async with asyncio.TaskGroup() as group:
            with self.store.watch_work() as watch:
                while True:
                    # A slot before the claim: a claimed cluster is reconciled at once.
                    await slots.acquire()
                    claim = await self._next_claim(watch)
                    group.create_task(self._serve(claim, slots), name=f"cluster {claim.cluster.id}")

    async def _next_claim(self, watch: Watch) -> Claim:
        """The next due cluster. Waits for a wake-up, until a cluster is due, or at most the polling time."""
        while True:
            pause = self.options.poll_seconds
            try:
                if (claim := await self._claim()) is not None:
                    return claim
                until_due = await self.store.leases.seconds_until_due()
                pause = pause if until_due is None else min(pause, until_due)
            except DayflyError as error:
                _log.warning("cannot claim work", code=error.code, reason=error.for_operator)
            await watch.wait(pause)

    async def _claim(self) -> Claim | None:
        """One attempt. Where it is cancelled, its claim is released at once: else the lease would have to expire."""
        claiming = asyncio.ensure_future(
            self.store.leases.claim(self.options.name, lease_seconds=self.options.lease_seconds, limit=1)
        )
        try:
            claims = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # A failing database must not replace the cancellation.
            with suppress(DayflyError):
                for claim in await claiming:
                    await self._release(claim, RequeueAfter(0.0), 0.0)
            raise
        return claims[0] if claims else None

    async def _serve(self, claim: Claim, slots: asyncio.Semaphore) -> None:
        """One claim: a pass while the lease is renewed; then the lease is released."""
        outcome: Outcome = RequeueAfter(0.0)
        release_seconds = self.options.lease_seconds
        began, result = self.clock.monotonic(), "error"
        metrics.leases_claimed.inc()
        try:
            outcome, result = await self._result(claim)
        except LeaseLost:
            result = "lease_lost"
            _log.warning("lease lost", cluster=claim.cluster.id)
            await self._requeue(claim)
            return
        except DayflyError as error:
            _log.warning(
                "a pass could not finish", cluster=claim.cluster.id, code=error.code, reason=error.for_operator
            )
            outcome = RequeueAfter(self.options.defect_pause_seconds)
        except Exception:
            _log.exception("a pass met a defect", cluster=claim.cluster.id)
            outcome = RequeueAfter(self.options.defect_pause_seconds)
        except asyncio.CancelledError:
            release_seconds = 0.0  # a database that is away must not delay the stop
            result = "finished"
            raise
        finally:
            slots.release()
            metrics.pass_seconds.labels(result).observe(self.clock.monotonic() - began)
            await self._release(claim, outcome, release_seconds)

    async def _result(self, claim: Claim) -> tuple[Outcome, str]:
        """The outcome of one pass, and its result for metrics. An outage (InfrastructureError) requeues the cluster.

        Elsewhere, plan_runner.py and finalize.py catch an outage to record its step, and raise it again. Two passes end
        without the engine: finalize.py records a failure and removes the machines later; ready.py skips the check of a
        ready cluster without a pending request, which engine_events.py repeats when the engine answers.
        """
        try:
            outcome = await self._pass(claim)
        except InfrastructureError as error:
            _log.warning("a cluster waits", cluster=claim.cluster.id, code=error.code, reason=error.for_operator)
            return await self.outages.requeue(claim, error), "waiting"
        self.outages.end(claim.cluster.id)
        return outcome, "finished"

    async def _requeue(self, claim: Claim) -> None:
        """A late call of this pass may have changed the cluster after the next worker checked it."""
        try:
            await self.store.maintenance.requeue([claim.cluster.id])
        except DayflyError as error:
            _log.warning("cannot requeue a cluster", cluster=claim.cluster.id, code=error.code)

    async def _release(self, claim: Claim, outcome: Outcome, release_seconds: float) -> None:
        """Release the lease, with retries for `release_seconds`: otherwise the cluster waits until it expires."""
        given_up_at = self.clock.monotonic() + release_seconds
        while True:
            try:
                await self.store.leases.release(claim, due_in_seconds=outcome.seconds)
            except DatabaseUnavailable as error:
                if self.clock.monotonic() >= given_up_at:
                    # The lease expires by itself.
                    _log.warning("cannot release a lease", cluster=claim.cluster.id, code=error.code)
                    return
                await self.clock.sleep(_AWAY_SECONDS)
            except DayflyError as error:
                _log.warning("cannot release a lease", cluster=claim.cluster.id, code=error.code)
                return
            else:
                return

    async def _pass(self, claim: Claim) -> Outcome:
        """One pass, cancelled when the desired state changes; then another is due at once."""
        return await first_result(self.reconcile(claim), self._keep(claim))

    async def _keep(self, claim: Claim) -> Outcome:
        """Renew the lease until the desired state differs from that of the claim. Raises LeaseLost."""
        desired = claim.cluster.desired
        with self.store.watch_requests(claim.cluster.id) as watch:
            # A request may have come between the claim and the watch.
            fresh = await self.store.clusters.get(claim.cluster.id)
            renew_at = self.clock.monotonic() + self.options.lease_seconds / 3
            while fresh.desired is desired:
                if await watch.wait(renew_at - self.clock.monotonic()):
                    fresh = await self.store.clusters.get(claim.cluster.id)
                else:
                    fresh = await self.store.leases.renew(claim, lease_seconds=self.options.lease_seconds)
                    renew_at = self.clock.monotonic() + self.options.lease_seconds / 3
        return RequeueAfter(0.0)
