"""`dayfly bake …`: bakes on the server, over HTTP. Not here: bakes on this machine (image.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dayfly.cli import bake_output, options
from dayfly.cli.emit import emit, emit_each
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import Bake, BakeEvent, Client
from dayfly.client.retries import Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.client.waiting import FOLLOW_SECONDS, HOLD_SECONDS
from dayfly.schemas.bakes import bake_is_over

app = typer.Typer(
    no_args_is_help=True, help="Have the server bake node images; show and cancel its bakes.", add_completion=False
)

BakeId = Annotated[str, typer.Argument(metavar="ID", help="A bake's id.")]


@app.command()
def create(
    recipe: Annotated[str | None, typer.Argument(help="A recipe of the server. Left out: with --definition.")] = None,
    *,
    var: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help='A variable of the recipe\'s play. JSON is read as such (3, true, ["a"], "3"), else it is a string. '
            "May be repeated.",
        ),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A whole recipe in YAML or JSON, in place of RECIPE.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The owner, for lists.")] = None,
    conformance: Annotated[
        bool, typer.Option("--conformance", help="Its cluster also passes the image's short list of conformance specs.")
    ] = False,
    conformance_spec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="A conformance spec's full name, or a regular expression, in place of the short list. May be "
            "repeated.",
        ),
    ] = None,
    wait: options.Wait = False,
    timeout: options.Timeout = 7200.0,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Request a node image from the server: it is built, verified by a boot, and named dayfly/RECIPE:latest.

    The server must allow that (DAYFLY_BAKES). `dayfly image bake` bakes on this machine.
    """
    if (recipe is None) == (definition is None):
        raise CommandError("invalid_request", "give either RECIPE or --definition", exit_code=ExitCode.USAGE)
    with Client() as client:
        made = client.create_bake(
            recipe,
            variables=_variables(var or ()) or None,
            definition=None if definition is None else _definition(definition),
            owner=owner,
            readiness="conformance" if conformance or conformance_spec else None,
            conformance=conformance_spec or None,
            idempotency_key=idempotency_key,
        )
        if wait:
            made = _wait(client, made, timeout)
    emit(made, bake_output.sentence(made), output, as_json)


@app.command("list")
def list_bakes(
    phase: Annotated[list[str] | None, typer.Option(help="Bakes in this phase. Default: all. May be repeated.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Bakes of this recipe.")] = None,
    owner: Annotated[str | None, typer.Option(help="Bakes of this owner.")] = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """List bakes, newest first."""
    with Client() as client:
        found = client.bakes(phases=phase or (), recipe=recipe, owner=owner)
    emit(found, bake_output.bakes(found), output, as_json)


@app.command()
def show(
    bake: BakeId,
    wait: options.Wait = False,
    timeout: options.Timeout = 7200.0,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Show a bake; with --wait, once it has succeeded."""
    with Client() as client:
        found = client.bake(bake)
        if wait:
            found = _wait(client, found, timeout)
    emit(found, bake_output.bake(found), output, as_json)


@app.command()
def events(
    bake: BakeId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new events, too, until the bake ends.")] = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Show the log of a bake; as JSON, an object on each line."""
    with Client() as client:
        found = client.bake(bake)
        for event in _follow(client, found.id) if follow else client.all_bake_events(found.id):
            emit_each(event, bake_output.event(event, found.created_at), output, as_json)


@app.command()
def cancel(
    bake: BakeId,
    wait: options.Wait = False,
    timeout: options.Timeout = 600.0,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Cancel a bake; with --wait, until nothing unfinished is left of it. May be repeated."""
    with Client() as client:
        found = client.cancel_bake(bake)
        if wait:
            found = _until_ended(client, found, timeout, f"bake {found.id} is being cancelled")
    emit(found, bake_output.sentence(found), output, as_json)


def _wait(client: Client, bake: Bake, timeout: float) -> Bake:
    """The bake, once it has succeeded. Raises CommandError."""
    ended = _until_ended(client, bake, timeout, f"the server goes on with bake {bake.id}")
    if ended.phase != "succeeded":
        raise bake_output.failure(ended)
    return ended


def _until_ended(client: Client, bake: Bake, timeout: float, if_interrupted: str) -> Bake:
    progress = bake_output.Progress()

    def look() -> Bake:
        # The bake first: if it has ended, its last events are read after it.
        seen = client.bake(bake.id)
        part = client.bake_events(bake.id, after=progress.after)
        progress.read(part)
        return seen

    return wait_for(
        look,
        lambda seen: bake_is_over(seen.phase),
        progress.state,
        f"bake {bake.id} of {bake.recipe}",
        timeout,
        if_interrupted=(if_interrupted, f"dayfly bake cancel {bake.id}"),
    )


def _follow(client: Client, bake_id: str) -> Iterator[BakeEvent]:
    after = 0
    while True:
        more = partial(client.bake_events, bake_id, after=after, wait_seconds=HOLD_SECONDS)
        part = sync_retry(Backoff(FOLLOW_SECONDS), more)
        yield from part.events
        after = part.next_after
        if bake_is_over(part.phase) and not part.events:
            return


def _variables(pairs: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{pair!r} is not a variable: write NAME=VALUE")
        try:
            value = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            value = text
        if name in found:
            raise typer.BadParameter(f"two values for variable {name!r}")
        found[name] = value
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not of JSON, though Python reads and writes it")


def _definition(path: Path) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415 - few commands need it

    try:
        fields = yaml.safe_load(path.read_text())
        json.dumps(fields, allow_nan=False)  # YAML has dates, and lists within themselves
    except (OSError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise CommandError("invalid_request", f"{path} cannot be read: {why}", exit_code=ExitCode.USAGE) from error
    if not isinstance(fields, dict):
        raise CommandError("invalid_request", f"{path} has no fields of a recipe", exit_code=ExitCode.USAGE)
    return fields
