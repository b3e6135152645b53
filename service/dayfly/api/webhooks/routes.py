"""/v1/webhooks: a team's webhooks. A route sees those of the caller's team only.

Not here: their deliveries (routes_deliveries.py), and the calls (controllers/webhooks/).
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request, Response

from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.etags import DESCRIBED, IfMatch, required, tagged, webhook_tag
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.principals import Caller
from dayfly.api.webhooks.presenter import show_created, show_webhook
from dayfly.domain import webhook as domain
from dayfly.domain.security.webhook_addresses import literal, may_be_called, networks
from dayfly.errors import InvalidRequest, NotFound
from dayfly.schemas.webhooks import CreatedWebhook, Webhook, WebhookChangeRequest, WebhookList, WebhookRequest
from dayfly.store import UNSET, CarriedOut, NewWebhook, WebhookChange

router: Final = APIRouter(tags=["webhooks"])

_ID: Final = re.compile(r"[a-z0-9]{1,40}")
_SECRET_BYTES: Final = 32


def webhook_id(webhook: Annotated[str, Path(description="A webhook's id.")]) -> str:
    if not _ID.fullmatch(webhook):
        raise NotFound("no webhook has this id: it is not a valid id")
    return webhook


WebhookId = Annotated[str, Depends(webhook_id)]


@router.post(
    "/v1/webhooks",
    operation_id="createWebhook",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "The webhook's path.", "schema": {"type": "string"}}}},
    },
)
async def create_webhook(
    request: Request,
    wanted: WebhookRequest,
    response: Response,
    services: Services,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> CreatedWebhook:
    """Create a webhook of the caller's team. The response alone has the `secret` that signs its calls.

    Calls are described in the section `webhooks` of this document. Each event of a cluster is sent at least once, and
    recorded in the same transaction as the event: none is lost with a process. 409 `webhook_limit` beyond 20.
    """
    key = key_of(idempotency_key, wanted, caller)
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
    shown: str | None = secret
    try:
        _check_url(wanted.url, services)
        await require_caller(request)
        new = NewWebhook(caller.team, wanted.url, tuple(wanted.events), secret, wanted.description)
        made = await services.store.webhooks.create(new, key)
    except CarriedOut as first:
        shown = None
        made = await replayed(response, services.store.webhooks.get(str(first.use.resource_id), caller.team))
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    return show_created(made, shown)


@router.get("/v1/webhooks", operation_id="listWebhooks")
async def list_webhooks(services: Services, caller: Caller) -> WebhookList:
    """List the webhooks of the caller's team, newest first."""
    found = await services.store.webhooks.list(caller.team)
    return WebhookList(webhooks=tuple(map(show_webhook, found)))


@router.get("/v1/webhooks/{webhook}", operation_id="getWebhook", responses={200: {"headers": DESCRIBED}})
async def get_webhook(response: Response, services: Services, caller: Caller, webhook: WebhookId) -> Webhook:
    """Get a webhook: whether it is enabled, and how its calls go."""
    found = await services.store.webhooks.get(webhook, caller.team)
    tagged(response, webhook_tag(found))
    return show_webhook(found)


@router.patch("/v1/webhooks/{webhook}", operation_id="changeWebhook", responses={200: {"headers": DESCRIBED}})
async def change_webhook(
    wanted: WebhookChangeRequest,
    response: Response,
    services: Services,
    caller: Caller,
    webhook: WebhookId,
    if_match: IfMatch = None,
) -> Webhook:
    """Change a webhook, or enable one that was disabled. What is pending goes to the new URL."""
    given = wanted.model_fields_set
    if "url" in given:
        _check_url(wanted.url, services)
    change = WebhookChange(
        url=wanted.url if "url" in given else UNSET,
        events=tuple(wanted.events) if "events" in given else UNSET,
        description=wanted.description if "description" in given else UNSET,
        enabled=wanted.enabled if "enabled" in given else UNSET,
    )
    check = required(if_match, webhook_tag, "webhook")
    changed: domain.Webhook = await services.store.webhooks.change(webhook, caller.team, change, check)
    tagged(response, webhook_tag(changed))
    return show_webhook(changed)


@router.delete("/v1/webhooks/{webhook}", operation_id="deleteWebhook")
async def delete_webhook(services: Services, caller: Caller, webhook: WebhookId) -> Webhook:
    """Delete a webhook with its deliveries. A call that is under way is not recorded."""
    return show_webhook(await services.store.webhooks.delete(webhook, caller.team))


def _check_url(url: str, services: ApiServices) -> None:
    """Refuse a URL that no call could be made to. Names are looked up at each call, and never here."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError as error:
        raise InvalidRequest("url: what is in brackets is no IP address") from error
    address = literal(host)
    if address is not None and not may_be_called(address, networks(services.settings.webhook_networks)):
        raise InvalidRequest(
            f"url: {host} is no public address: the operator of the server allows others (DAYFLY_WEBHOOK_NETWORKS)"
        )
