"""`dayfly team …`, over HTTP: for operators."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli import options
from dayfly.cli.emit import emit
from dayfly.cli.errors import ignored_not_found
from dayfly.cli.formatting import format_age, format_table
from dayfly.client import Client

app = typer.Typer(no_args_is_help=True, help="Create, list, change and delete teams.", add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The team's name.")]


@app.command()
def create(
    name: Name,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a team. Its first token: dayfly token create NAME --team TEAM --role admin."""
    with Client() as client:
        made = client.create_team(name, description=description, idempotency_key=idempotency_key)
    emit(made, f"team {made.name} exists", output, as_json)


@app.command("list")
def list_teams(output: options.Output = None, as_json: options.Json = False) -> None:
    """List teams, by name."""
    with Client() as client:
        found = client.teams()
    rows = [(one.name, one.description or "-", format_age(one.created_at)) for one in found]
    emit(found, format_table(("NAME", "DESCRIPTION", "AGE"), rows), output, as_json)


@app.command()
def change(
    name: Name,
    description: Annotated[str, typer.Option(help="For people.")],
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Change a team's description."""
    with Client() as client:
        changed = client.change_team(name, description=description)
    emit(changed, f"team {changed.name}: {changed.description}", output, as_json)


@app.command()
def delete(
    name: Name,
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Delete a team that has nothing any more, with its tokens."""
    with Client() as client, ignored_not_found(ignore_not_found):
        deleted = client.delete_team(name)
    emit(deleted, f"team {deleted.name} is deleted", output, as_json)
