"""The calls that receivers of webhooks get, for the OpenAPI document's section `webhooks`: no routes of a server."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header

from dayfly.schemas.webhooks import WebhookMessage
from dayfly.vocabulary import WEBHOOK_TEST, WebhookEvent

_SUMMARIES: Final = {
    WebhookEvent.READY: "A cluster of the team is ready: first, or again after a reset, a resumption or a recovery.",
    WebhookEvent.FAILED: "A cluster of the team has failed; `data.cluster.error` has the reason.",
    WebhookEvent.EXPIRING: "A cluster of the team expires soon, at `data.cluster.expires_at`.",
    WebhookEvent.HIBERNATED: "A cluster of the team is hibernated.",
    WebhookEvent.DELETED: "A cluster of the team is deleted; its name and resources are free.",
    WebhookEvent.QUOTA: "A request of the team was refused because of its quota, `data.quota`; at most once in ten "
    "minutes.",
    WEBHOOK_TEST: "A call that `POST /v1/webhooks/{webhook}/test` asked for.",
}
_DESCRIPTION: Final = """\
A POST by Standard Webhooks (https://www.standardwebhooks.com). Verify the signature with the webhook's secret before
anything else: `webhook-signature` has `v1,` and the base64 of the HMAC-SHA256 of
`{webhook-id}.{webhook-timestamp}.{body}`, with the bytes that the base64 after `whsec_` stands for as the key.

Any status from 200 to 299 within 15 s is a success. Otherwise the call is repeated for a day, with a growing pause.
`webhook-id` stays the same: a receiver that has seen it before has had this message already. Messages may come in
another order than that of their `timestamp`. A receiver that answers 410 is not called again, and its webhook disabled;
so is one that fails for three days.
"""

router: Final = APIRouter(tags=["webhooks"])


def _receive(
    body: WebhookMessage,
    webhook_id: Annotated[str, Header(alias="webhook-id", description="The message's id, the same in every attempt.")],
    webhook_timestamp: Annotated[
        int, Header(alias="webhook-timestamp", description="Unix time of this attempt; refuse one that is minutes old.")
    ],
    webhook_signature: Annotated[
        str, Header(alias="webhook-signature", description="One or more signatures with a space between: `v1,…`.")
    ],
) -> None:
    """Never called: receivers have their own."""


for _event, _summary in _SUMMARIES.items():
    router.add_api_route(
        str(_event),
        _receive,
        methods=["POST"],
        operation_id=f"on{str(_event).capitalize()}",
        summary=_summary,
        description=_DESCRIPTION,
        status_code=204,
        response_description="Received. Any other status from 200 to 299 will do.",
    )
