"""Deliveries of a webhook: listed, tested and repeated. Not here: the webhook itself (routes.py)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from dayfly.api.dependencies import Services, require_caller
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.principals import Caller
from dayfly.api.webhooks.presenter import show_delivery
from dayfly.api.webhooks.routes import WebhookId
from dayfly.errors import NotFound
from dayfly.schemas.webhooks import WebhookDelivery, WebhookDeliveryList
from dayfly.store import CarriedOut
from dayfly.vocabulary import DeliveryState

router: Final = APIRouter(tags=["webhooks"])

_ID: Final = re.compile(r"[a-z0-9]{1,40}")


def _delivery_id(delivery: Annotated[str, Path(description="A delivery's id.")]) -> str:
    if not _ID.fullmatch(delivery):
        raise NotFound("no delivery has this id: it is not a valid id")
    return delivery


DeliveryId = Annotated[str, Depends(_delivery_id)]


@router.get(
    "/v1/webhooks/{webhook}/deliveries",
    operation_id="listWebhookDeliveries",
    responses={200: {"headers": {"Link": {"description": 'The next page, rel="next".', "schema": {"type": "string"}}}}},
)
async def list_deliveries(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    webhook: WebhookId,
    state: Annotated[
        list[DeliveryState],
        Query(
            max_length=len(DeliveryState), description="Any of the given states; `dead`: dead letters. Default: all."
        ),
    ] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
) -> WebhookDeliveryList:
    """List what was or is to be sent to a webhook, newest first, with every attempt."""
    await services.store.webhooks.get(webhook, caller.team)
    page = await services.store.webhooks.deliveries(webhook, states=state, limit=limit, cursor=cursor)
    if page.next_cursor is not None:
        following = request.url.include_query_params(cursor=page.next_cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return WebhookDeliveryList(deliveries=tuple(map(show_delivery, page.deliveries)), next_cursor=page.next_cursor)


@router.get("/v1/webhooks/{webhook}/deliveries/{delivery}", operation_id="getWebhookDelivery")
async def get_delivery(services: Services, caller: Caller, webhook: WebhookId, delivery: DeliveryId) -> WebhookDelivery:
    """Get one delivery, with every attempt."""
    await services.store.webhooks.get(webhook, caller.team)
    return show_delivery(await services.store.webhooks.delivery(webhook, delivery))


@router.post(
    "/v1/webhooks/{webhook}/test",
    operation_id="testWebhook",
    status_code=202,
    responses={
        202: {"headers": {"Location": {"description": "The delivery's path.", "schema": {"type": "string"}}}},
    },
)
async def send_test(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    webhook: WebhookId,
    idempotency_key: KeyHeader = None,
) -> WebhookDelivery:
    """Have a test call made, once, also of a disabled webhook. The delivery shows how it went, a moment later.

    409 while 100 test calls are not made yet.
    """
    key = key_of(idempotency_key, f"testWebhook {webhook}", caller)
    try:
        await require_caller(request)
        made = await services.store.webhooks.test(webhook, caller.team, key)
    except CarriedOut as first:
        made = await replayed(response, services.store.webhooks.delivery(webhook, str(first.use.resource_id)))
    response.headers["Location"] = f"/v1/webhooks/{webhook}/deliveries/{made.id}"
    return show_delivery(made)


@router.post(
    "/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver", operation_id="redeliverWebhookDelivery", status_code=202
)
async def redeliver(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    webhook: WebhookId,
    delivery: DeliveryId,
    idempotency_key: KeyHeader = None,
) -> WebhookDelivery:
    """Send a delivery again, with attempts for another day, whatever its state; a pending one at once.

    409 `webhook_disabled` of a disabled webhook.
    """
    key = key_of(idempotency_key, f"redeliver {webhook} {delivery}", caller)
    try:
        await require_caller(request)
        made = await services.store.webhooks.redeliver(webhook, delivery, caller.team, key)
    except CarriedOut as first:
        made = await replayed(response, services.store.webhooks.delivery(webhook, str(first.use.resource_id)))
    return show_delivery(made)
