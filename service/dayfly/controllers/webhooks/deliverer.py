"""The deliverer's loop: claims due deliveries by lease, calls their receivers, and records how each call ended.

A deliverer may die at any instruction: its leases expire, and another deliverer, or the same one after its restart,
makes the calls again (at least once; receivers recognise a message by its id). Not here: rules of retries
(domain/webhook.py), the number of calls to one webhook (store/webhook_leases.py), HTTP (drivers/webhooks/).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.domain.webhook import NewAttempt
from dayfly.drivers.interfaces.webhooks import WebhookAnswer, WebhookCall, WebhookCaller
from dayfly.errors import DayflyError, Internal, LeaseLost, SecretsKeyMissing, WebhookRefused
from dayfly.store import DeliveryClaim, Store, Watch

_log = structlog.get_logger(__name__)

_SECRETS: Final = re.compile(
    r"(?i)whsec_[\w+/=-]+|dfly_\w+|\bv1a?,[\w+/=-]+|\b(authorization|cookie)[\"']?\s*[:=][^\r\n]*"
    r"|\b(bearer|basic) [\w+/=.~-]+"
    r"|(token|secret|passw(or)?d|api[_-]?key)[\"']?\s*[:=]\s*[\"']?[^\s\"',;&}]+"
)
"""What may be secret in a receiver's answer, which may repeat headers of the call or show the receiver's own."""


@dataclass(frozen=True)
class DelivererOptions:
    """`calls`: at once, by this process. `lease_seconds`: longer than a call may take."""

    name: str
    calls: int = 64
    lease_seconds: float = 60.0
    poll_seconds: float = 5.0


@dataclass(frozen=True)
class Deliverer:
    """One claim loop. Cancel `run()` to stop it: calls are cut off, and made again by the next deliverer."""

    store: Store
    caller: WebhookCaller
    options: DelivererOptions
    clock: Clock
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            with self.store.watch_webhooks() as watch:
                while True:
                    for claim in await self._claims():
                        call = group.create_task(self._serve(claim), name=f"delivery {claim.delivery_id}")
                        self._calls.add(call)
                        call.add_done_callback(self._calls.discard)
                        call.add_done_callback(lambda _: watch.wake())
                    await self._pause(watch)

    async def _claims(self) -> tuple[DeliveryClaim, ...]:
        """Due deliveries, as many as this process may call. Where that is cancelled, claims are given back at once."""
        options = self.options
        free = options.calls - len(self._calls)
        if free <= 0:
            return ()
        claiming = asyncio.ensure_future(self._try_claim(free))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for claim in await claiming:
                await self._release(claim)
            raise

    async def _try_claim(self, limit: int) -> tuple[DeliveryClaim, ...]:
        leases, options = self.store.webhook_leases, self.options
        try:
            # A read first: on SQLite, a claim waits for the only write lock.
            if await leases.seconds_until_due() != 0:
                return ()
            return await leases.claim(options.name, lease_seconds=options.lease_seconds, limit=limit)
        except DayflyError as error:
            _log.warning("cannot claim deliveries", code=error.code, reason=error.for_operator)
            return ()

    async def _pause(self, watch: Watch) -> None:
        """Until something may be due. What is due already waits for the end of another call to its webhook."""
        seconds = None
        with suppress(DayflyError):  # the next claim fails as well, and says so
            seconds = await self.store.webhook_leases.seconds_until_due()
        await watch.wait(min(seconds or self.options.poll_seconds, self.options.poll_seconds))

    async def _serve(self, claim: DeliveryClaim) -> None:
        """One claim: the call, and its record."""
        about = {"delivery": claim.delivery_id, "webhook": claim.webhook_id, "type": claim.type}
        try:
            attempt = await self._attempt(claim)
            state = await self.store.webhook_leases.finish(claim, attempt)
            metrics.webhook_calls.labels("delivered" if attempt.succeeded else "failed").inc()
            if not attempt.succeeded:
                _log.info("a webhook call failed", **about, code=attempt.error_code, state=state.value)
        except LeaseLost:
            _log.info("a delivery was taken over, or its webhook is deleted", **about)
        except DayflyError as error:
            # The lease expires by itself, and the call is made again.
            _log.warning("a webhook call could not be recorded", **about, code=error.code, reason=error.for_operator)
        except asyncio.CancelledError:
            await self._release(claim)
            raise
        except Exception:
            _log.exception("a deliverer met a defect", **about)

    async def _attempt(self, claim: DeliveryClaim) -> NewAttempt:
        began = self.clock.monotonic()
        answer, failure = None, None
        try:
            secret = claim.secret()
            call = WebhookCall(claim.url, claim.message_id, self.clock.now(), claim.body, secret=secret)
            answer = await self.caller.call(call)
        except SecretsKeyMissing:
            # Not the webhook's fault: the lease expires, and the call is made again.
            raise
        except DayflyError as error:
            failure = error
        except Exception:
            _log.exception("a webhook call met a defect", delivery=claim.delivery_id)
            failure = Internal("an internal error of Dayfly; the worker's log has the details")
        seconds = round(self.clock.monotonic() - began, 3)
        if answer is None:
            assert failure is not None  # noqa: S101 - one of the two is there
            return NewAttempt(seconds, error_code=failure.code, error=without_secrets(failure.message))
        return _answered(answer, seconds)

    async def _release(self, claim: DeliveryClaim) -> None:
        """This deliverer stops, another one goes on."""
        try:
            await self.store.webhook_leases.release(claim)
        except DayflyError as error:
            _log.info("cannot give a delivery back", delivery=claim.delivery_id, code=error.code)


def _answered(answer: WebhookAnswer, seconds: float) -> NewAttempt:
    beginning = without_secrets(answer.beginning.decode(errors="replace"))
    if 200 <= answer.status < 300:
        return NewAttempt(seconds, answer.status, answer=beginning)
    redirected = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
    refused = WebhookRefused(f"the receiver answered {answer.status}{redirected}")
    return NewAttempt(seconds, answer.status, refused.code, refused.message, beginning)


def without_secrets(text: str) -> str:
    """`text` with … in place of what looks like a secret."""
    return _SECRETS.sub("…", text)
