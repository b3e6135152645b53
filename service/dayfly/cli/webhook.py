"""`dayfly webhook …`, over HTTP. Not here: output (webhook_output.py)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import typer

from dayfly.cli import options, webhook_output
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError, ignored_not_found
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import Client
from dayfly.vocabulary import DeliveryState, WebhookEvent

app = typer.Typer(no_args_is_help=True, help="Have addresses called when clusters change.", add_completion=False)

_TEST_SECONDS: Final = 60.0

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="A webhook's id.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="The address to call: https://… or http://….")],
    *,
    event: Annotated[
        list[WebhookEvent] | None, typer.Option(help="What it is called for. Default: all. May be repeated.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="A text for people.")] = None,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a webhook of your team, and print the secret that signs its calls: it is shown only here."""
    with Client() as client:
        events = None if event is None else [one.value for one in event]
        made = client.create_webhook(url, events=events, description=description, idempotency_key=idempotency_key)
    emit(made.model_dump(mode="json"), webhook_output.created(made), output, as_json)


@app.command("list")
def list_webhooks(output: options.Output = None, as_json: options.Json = False) -> None:
    """List your team's webhooks, newest first."""
    with Client() as client:
        found = client.webhooks()
    emit(found, webhook_output.webhooks(found), output, as_json)


@app.command()
def delete(
    webhook: WebhookId,
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Delete a webhook with its deliveries."""
    with Client() as client, ignored_not_found(ignore_not_found):
        deleted = client.delete_webhook(webhook)
        emit(deleted, f"webhook {deleted.id} is deleted", output, as_json)


@app.command("test")
def send_test(
    webhook: WebhookId,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Have the server make a test call, and show how it went."""
    with Client() as client:
        sent = client.test_webhook(webhook, idempotency_key=idempotency_key)
        ended = wait_for(
            partial(client.webhook_delivery, webhook, sent.id),
            lambda seen: seen.state != DeliveryState.PENDING,
            lambda seen: str(seen.state),
            f"test of webhook {webhook}",
            _TEST_SECONDS,
            if_interrupted=("the server makes the call", f"dayfly webhook deliveries {webhook}"),
        )
    if ended.state == DeliveryState.DELIVERED:
        emit(ended, webhook_output.sentence(ended), output, as_json)
        return
    last = ended.attempts[-1]
    detail = f"the test of webhook {webhook} failed: {last.error}"
    raise CommandError(
        last.error_code or "internal", detail, f"dayfly webhook deliveries {webhook}", exit_code=ExitCode.FAILED
    )


@app.command()
def deliveries(
    webhook: WebhookId,
    state: Annotated[
        list[DeliveryState] | None,
        typer.Option(help="Deliveries in this state; `dead`: dead letters. Default: all. May be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 20,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """List what was or is to be sent to a webhook, newest first, with the last attempt of each."""
    with Client() as client:
        states = [one.value for one in state or ()]
        found = client.webhook_deliveries(webhook, states=states, limit=limit)
    emit(found, webhook_output.deliveries(found), output, as_json)
