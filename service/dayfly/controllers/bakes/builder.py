"""The builder's loop: claims bakes by lease, has each baked, and records its end.

A builder may die at any instruction: its leases expire, another builder, or the same one after its restart, begins the
bake again, and complete phases come from the cache. Not here: the work of a bake (images/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.concurrency import first_result
from dayfly.controllers.bakes.log import BakeLog, without_logins
from dayfly.domain.bake import Bake, BakedImage, BakeOrder, NewBakeEvent
from dayfly.domain.cluster.model import Fault
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import BakeInterrupted, Capacity, DayflyError, InfrastructureError, Internal, LeaseLost
from dayfly.images.bake import AskForRoom
from dayfly.images.progress import Progress, Report
from dayfly.store import BakeClaim, Store, Watch
from dayfly.vocabulary import BakePhase

_log = structlog.get_logger(__name__)

_STOP_SECONDS: Final = 30.0

RunBake = Callable[[BakeOrder, Report, AskForRoom], Awaitable[BakedImage]]
"""Raises the errors of a bake. A cancelled bake has ended, and removed what was unfinished, before it raises."""
Promote = Callable[[str, BakedImage], Awaitable[None]]
"""Lets a name stand for an image."""
CleanUp = Callable[[str], Awaitable[None]]
"""Removes what a bake of this recipe may have left (leftovers.py)."""


@dataclass(frozen=True)
class BuilderOptions:
    """`attempts`: how often a bake is begun. `clean_ups`: attempts to remove what a bake left. Times in seconds."""

    name: str
    host: str
    concurrency: int
    lease_seconds: float
    poll_seconds: float
    attempts: int
    write_seconds: float = 1.0
    clean_ups: int = 5
    retry_seconds: float = 10.0


@dataclass(frozen=True)
class _Outcome:
    """How a pass ends: in a phase, or, without one, with another attempt."""

    phase: BakePhase | None
    image: BakedImage | None = None
    error: DayflyError | None = None


_CANCELLED = _Outcome(BakePhase.CANCELLED)


@dataclass(frozen=True)
class Builder:
    """One claim loop. Cancel `run()` to stop it: running bakes are ended, and queued again.

    `offered`: all resources of the host that clusters may have.
    """

    store: Store
    run_bake: RunBake
    clean_up: CleanUp
    offered: Callable[[], Awaitable[Resources]]
    promote: Promote
    options: BuilderOptions
    clock: Clock

    async def run(self) -> None:
        """Until cancelled."""
        slots = asyncio.Semaphore(self.options.concurrency)
        async with asyncio.TaskGroup() as group:
            with self.store.watch_bakes() as watch:
                while True:
                    # A slot before the claim: a claimed bake begins at once.
                    await slots.acquire()
                    claim = await self._next_claim(watch)
                    group.create_task(self._serve(claim, slots), name=f"bake {claim.bake.id}")

    async def _next_claim(self, watch: Watch) -> BakeClaim:
        while True:
            try:
                if (claim := await self._claim()) is not None:
                    return claim
            except DayflyError as error:
                _log.warning("cannot claim a bake", code=error.code, reason=error.for_operator)
            await watch.wait(self.options.poll_seconds)

    async def _claim(self) -> BakeClaim | None:
        """One attempt. Where it is cancelled, its claim is given back at once: else the lease would have to expire."""
        options = self.options
        claiming = asyncio.ensure_future(
            self.store.bake_leases.claim(
                options.name, options.host, lease_seconds=options.lease_seconds, per_host=options.concurrency
            )
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # A failing database must not replace the cancellation.
            with suppress(DayflyError):
                if (claim := await claiming) is not None:
                    await self.store.bake_leases.give_back(claim, [], due_in_seconds=0.0, counts=False)
            raise

    async def _serve(self, claim: BakeClaim, slots: asyncio.Semaphore) -> None:
        """One claim: the bake, while the lease is renewed."""
        bake, log, cancel = claim.bake, BakeLog(), asyncio.Event()
        _log.info("bake claimed", bake=bake.id, recipe=bake.order.recipe, attempt=bake.attempts)
        try:
            await first_result(self._pass(claim, log, cancel), self._keep(claim, log, cancel))
        except LeaseLost:
            _log.warning("lease lost", bake=bake.id)
        except DayflyError as error:
            # The lease expires by itself, and the bake is taken up again.
            _log.warning("a bake could not be recorded", bake=bake.id, code=error.code, reason=error.for_operator)
        except Exception:
            _log.exception("a builder met a defect", bake=bake.id)
        except asyncio.CancelledError:
            await self._give_back(claim, log)
            raise
        finally:
            slots.release()

    async def _pass(self, claim: BakeClaim, log: BakeLog, cancel: asyncio.Event) -> None:
        """Carry the bake out and record its end. Nothing of an unsuccessful bake is left before its end is recorded."""
        began = self.clock.monotonic()
        outcome = await self._outcome(claim, log, cancel)
        if outcome.phase is not BakePhase.SUCCEEDED:
            outcome = await self._cleaned(claim, outcome, log)
        if outcome.phase is None:
            assert outcome.error is not None  # noqa: S101 - only an error asks for another attempt
            log.add(NewBakeEvent("queued", outcome.error.message, code=outcome.error.code))
            await self.store.bake_leases.give_back(
                claim, log.take(), due_in_seconds=self.options.retry_seconds, counts=True
            )
            return
        if outcome.image is not None and claim.bake.order.promote:
            await self._promote(claim.bake, outcome.image, log)
        fault = None
        if outcome.error is not None:
            fault = _fault(outcome.error)
            metrics.bake_failures.labels(outcome.error.code).inc()
        await self.store.bake_leases.end(claim, outcome.phase, log.take(), image=outcome.image, fault=fault)
        metrics.bake_seconds.labels(outcome.phase.value).observe(self.clock.monotonic() - began)
        _log.info("bake ended", bake=claim.bake.id, recipe=claim.bake.order.recipe, phase=outcome.phase.value)

    async def _outcome(self, claim: BakeClaim, log: BakeLog, cancel: asyncio.Event) -> _Outcome:
        bake, most = claim.bake, self.options.attempts
        if bake.cancel_requested_at is not None:
            return _CANCELLED
        if bake.attempts > most:
            message = f"its builder ended during each of {most} attempts, and the bake is not begun again"
            return _failed(BakeInterrupted(message))
        try:
            return await first_result(self._baked(claim, log), _cancelled(cancel))
        except DayflyError as error:
            _log.warning("a bake met an error", bake=bake.id, code=error.code, reason=error.for_operator)
            may_pass = isinstance(error, InfrastructureError) and bake.attempts < most
            return replace(_failed(error), phase=None) if may_pass else _failed(error)
        except Exception:
            _log.exception("a bake met a defect", bake=bake.id)
            return _failed(Internal("an internal error of Dayfly; the builder's log has the details"))

    async def _baked(self, claim: BakeClaim, log: BakeLog) -> _Outcome:
        ask = partial(self._ask_for_room, claim, log)
        return _Outcome(BakePhase.SUCCEEDED, await self.run_bake(claim.bake.order, log.report, ask))

    async def _ask_for_room(self, claim: BakeClaim, log: BakeLog, needs: Resources) -> None:
        """Wait until admission has reserved `needs` for the verification. Raises Capacity for what never fits."""
        offered = await self.offered()
        if not needs.fits(offered):
            raise Capacity(f"the verification needs {needs}; this host offers its clusters {offered} in all")
        with self.store.watch(claim.bake.id) as watch:
            asked = False
            while True:
                try:
                    if not asked:
                        await self.store.bake_leases.ask_for_room(claim, needs)
                        log.report(Progress("verify", "waiting", 0.0, f"for its turn, and for {needs} of the host"))
                        asked = True
                    if (await self.store.bakes.get(claim.bake.id)).reserved:
                        return
                except InfrastructureError as error:
                    _log.warning("cannot ask for room", bake=claim.bake.id, code=error.code)
                await watch.wait(self.options.poll_seconds)

    async def _promote(self, bake: Bake, image: BakedImage, log: BakeLog) -> None:
        """As the order asked. The image is there even if that fails."""
        try:
            await self.promote(bake.order.recipe, image)
        except DayflyError as error:
            _log.warning("cannot promote an image", bake=bake.id, code=error.code, reason=error.for_operator)
            log.add(NewBakeEvent("promote_failed", error.message, code=error.code))
        else:
            log.add(NewBakeEvent("promoted", f"{bake.order.recipe} stands for {image.id}"))

    async def _cleaned(self, claim: BakeClaim, outcome: _Outcome, log: BakeLog) -> _Outcome:
        """Remove what the bake may have left, with a bounded number of attempts; the outcome names what is left."""
        for attempt in range(1, self.options.clean_ups + 1):
            try:
                await self.clean_up(claim.bake.order.recipe)
            except DayflyError as error:
                _log.warning(
                    "cannot clean up after a bake", bake=claim.bake.id, code=error.code, reason=error.for_operator
                )
                log.add(NewBakeEvent("clean_up_failed", error.message, code=error.code))
                if attempt < self.options.clean_ups:
                    await self.clock.sleep(self.options.retry_seconds * 2 ** (attempt - 1))
                elif outcome.error is not None:
                    outcome.error.evidence["clean-up"] = f"{error.code}: {error.message}"
            else:
                break
        return outcome

    async def _keep(self, claim: BakeClaim, log: BakeLog, cancel: asyncio.Event) -> None:
        """Renew the lease, write the log, set `cancel` on request; until cancelled. Raises LeaseLost."""
        leases, options = self.store.bake_leases, self.options
        renew_at = self.clock.monotonic()
        with self.store.watch_requests(claim.bake.id) as watch:
            while True:
                try:
                    if self.clock.monotonic() >= renew_at:
                        fresh = await leases.renew(claim, lease_seconds=options.lease_seconds)
                        renew_at = self.clock.monotonic() + options.lease_seconds / 3
                        if fresh.cancel_requested_at is not None:
                            cancel.set()
                    await self._write(claim, log)
                except InfrastructureError as error:
                    # The bake goes on: it needs no database until its end.
                    _log.warning("cannot renew a lease", bake=claim.bake.id, code=error.code)
                if await watch.wait(options.write_seconds):
                    renew_at = self.clock.monotonic()

    async def _write(self, claim: BakeClaim, log: BakeLog) -> None:
        events = log.take()
        if not events:
            return
        try:
            await self.store.bake_leases.record(claim, events)
        except InfrastructureError:
            log.put_back(events)
            raise

    async def _give_back(self, claim: BakeClaim, log: BakeLog) -> None:
        """This builder stops, another one goes on.

        Nothing may be left of a queued bake: where that cannot be seen to, the lease has to expire.
        """
        log.add(NewBakeEvent("queued", "its builder was stopped"))
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.clean_up(claim.bake.order.recipe)
            await self.store.bake_leases.give_back(claim, log.take(), due_in_seconds=0.0, counts=False)
        except DayflyError as error:
            _log.warning("cannot give a bake back", bake=claim.bake.id, code=error.code)
        except TimeoutError:
            _log.warning("cannot give a bake back: the clean-up takes too long", bake=claim.bake.id)


def _fault(error: DayflyError) -> Fault:
    evidence = {name: without_logins(text) for name, text in error.evidence.items()}
    return Fault(error.code, without_logins(error.message), evidence=evidence)


def _failed(error: DayflyError) -> _Outcome:
    return _Outcome(BakePhase.FAILED, error=error)


async def _cancelled(cancel: asyncio.Event) -> _Outcome:
    await cancel.wait()
    return _CANCELLED
