"""Webhooks over HTTP: requests and responses, and the bodies of calls to receivers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from dayfly.schemas.base import ChangeRequestModel, Code, Id, Open, RequestModel, ResponseModel
from dayfly.vocabulary import DeliveryState, Phase, WebhookEvent

MAX_URL: Final = 2000
URL: Final = (
    r"^https?://([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(:[1-9][0-9]{0,3}|:[1-5][0-9]{4}|:6[0-4][0-9]{3}|:65[0-4][0-9]{2}|:655[0-2][0-9]|:6553[0-5])?"
    r"([/?][\x21\x22\x24-\x7e]*)?$"
)
"""Without user, password and fragment. A port is 1 to 65535."""
_URL_HELP: Final = (
    "`https://…` or `http://…`, without user and password. It is called at public addresses, and at others that the "
    "operator of the server allows. Redirects are not followed."
)
_EVENTS_HELP: Final = (
    "What it is called for: `ready` (first, and again after a reset, a resumption or a recovery), `failed`, "
    "`expiring`, `hibernated`, `deleted`, each of a cluster of the team; `quota`: a request of the team was refused "
    "because of its quota, at most once in ten minutes."
)


def _distinct(events: list[WebhookEvent]) -> list[WebhookEvent]:
    return list(dict.fromkeys(events))


Url = Annotated[str, StringConstraints(strict=True, max_length=MAX_URL, pattern=URL)]
Event = Annotated[WebhookEvent, Field(strict=False)]
Events = Annotated[list[Event], Field(min_length=1, max_length=16, description=_EVENTS_HELP), AfterValidator(_distinct)]
Description = Annotated[str, StringConstraints(strict=True, max_length=200)]


class WebhookRequest(RequestModel):
    """A webhook as a caller asks for it."""

    url: Url = Field(description=_URL_HELP, examples=["https://ci.example/dayfly"])
    events: Events = Field(default_factory=lambda: list(WebhookEvent), validate_default=True)
    description: Description = Field(default="", description="For people.")


class WebhookChangeRequest(ChangeRequestModel):
    """Changes of a webhook. Omitted fields keep their values."""

    url: Url = Field(default_factory=str, description=_URL_HELP)
    events: Events = Field(default_factory=list)
    description: Description = Field(default="", description="For people.")
    enabled: bool = Field(
        default=True,
        description="`false`: it is not called, and no new event is recorded for it; what is pending waits. `true`: "
        "what is pending is sent.",
    )


class Webhook(ResponseModel):
    """An address of a team that is called when something happens to its clusters."""

    id: Id
    team: str
    url: str
    description: str
    events: tuple[Open[WebhookEvent], ...]
    enabled: bool
    disabled_reason: str | None = Field(
        description="Why it is not called: by request, or because all of its calls failed for days."
    )
    created_at: datetime
    updated_at: datetime
    failing_since: datetime | None = Field(description="The first failed call after the last success.")
    succeeded_at: datetime | None = Field(description="The last successful call.")


class CreatedWebhook(Webhook):
    """A new webhook, with the secret that signs its calls."""

    secret: str | None = Field(
        repr=False,
        description="`whsec_…`, which receivers verify signatures with. No other response has it; null in the "
        "response to a repeated request (`Idempotency-Replayed`): then delete the webhook and create another one.",
    )


class WebhookList(ResponseModel):
    """The team's webhooks, newest first."""

    webhooks: tuple[Webhook, ...]


class WebhookAttempt(ResponseModel):
    """One call of a receiver."""

    at: datetime = Field(description="The end of the call.")
    seconds: float
    status: int | None = Field(description="The status that the receiver answered.")
    error_code: Code | None = Field(
        description="`webhook_refused` (another status than success), `webhook_unreachable`, `webhook_timeout`, "
        "`webhook_tls_failed`, `webhook_not_http`, `webhook_address_forbidden`; null after a success."
    )
    error: str | None
    answer: str = Field(description="The beginning of the answer, with … in place of what looks like a secret.")


class WebhookDelivery(ResponseModel):
    """One message to a webhook."""

    id: Id
    message_id: str = Field(description="The header `webhook-id`, the same in every attempt.")
    type: str = Field(description="The event, or `test`.")
    cluster_id: Id | None
    state: Open[DeliveryState] = Field(
        description="`pending`: it is sent, for the first time or again. `delivered`. `dead`: all attempts of a day "
        "failed (of a test call, its only one)."
    )
    created_at: datetime
    due_at: datetime | None = Field(description="The next attempt.")
    ended_at: datetime | None
    attempts: tuple[WebhookAttempt, ...] = Field(description="Oldest first.")


class WebhookDeliveryList(ResponseModel):
    """One page of deliveries, newest first."""

    deliveries: tuple[WebhookDelivery, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class WebhookError(ResponseModel):
    """Why a cluster failed."""

    code: Code
    message: str
    step: str | None
    node: str | None


class WebhookCluster(ResponseModel):
    """The cluster at the time of the event."""

    id: Id
    name: str
    phase: Open[Phase]
    labels: dict[str, str]
    generation: int
    created_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    error: WebhookError | None


class WebhookQuota(ResponseModel):
    """The quota that a request would have exceeded."""

    name: str
    limit: int
    used: int
    wanted: int = Field(description="By the request, in addition.")


class WebhookData(ResponseModel):
    """What a call is about."""

    team: str
    cluster: WebhookCluster | None = Field(description="Null in a test call, and of `quota`.")
    quota: WebhookQuota | None = Field(description="Of `quota` alone.")


class WebhookMessage(ResponseModel):
    """The body of a call, as Standard Webhooks has it."""

    type: Open[WebhookEvent] = Field(description="The event, or `test`.")
    timestamp: datetime = Field(description="When the event happened. Attempts have their own `webhook-timestamp`.")
    data: WebhookData
