"""`dayfly token …`, over HTTP. Not here: the replacement of the operator's token (operator_token.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from dayfly.cli import options
from dayfly.cli.emit import emit
from dayfly.cli.errors import ignored_not_found
from dayfly.cli.formatting import format_age, format_table
from dayfly.cli.on_use import import_on_use
from dayfly.client import Client, Token
from dayfly.vocabulary import RoleName, TokenKind

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke tokens.", add_completion=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The service account or the person that gets the token.")],
    role: Annotated[RoleName, typer.Option(help="What the token's holder may do.")] = "user",
    kind: Annotated[TokenKind, typer.Option(help="Whether a program or a person has the token.")] = TokenKind.SERVICE,
    team: Annotated[str | None, typer.Option(help="The token's team. Default: the caller's.")] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    expires: Annotated[float | None, options.duration("How long it is valid. Default: until revoked.")] = None,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a token, and print it. It is shown once: the server keeps only a hash."""
    with Client() as client:
        made = client.create_token(
            name,
            kind=kind.value,
            role=role,
            team=team,
            description=description,
            expires_in_seconds=None if expires is None else round(expires),
            idempotency_key=idempotency_key,
        )
    # For people, too, nothing but the token: `TOKEN=$(dayfly token create ci)`.
    emit(made, made.token, output, as_json)


@app.command("list")
def list_tokens(
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """List tokens, newest first, expired and revoked ones included."""
    with Client() as client:
        found = client.tokens(team=team)
    emit(found, _table(found), output, as_json)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, which is a part of its text.")],
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Revoke a token, at once."""
    with Client() as client, ignored_not_found(ignore_not_found):
        revoked = client.revoke_token(token)
    emit(revoked, f"token {revoked.id} of {revoked.name} is revoked", output, as_json)


@app.command("reset-operator")
def reset_operator() -> None:
    """On the server: revoke the operator's first token, and print another.

    The command reads the server's settings and writes to its database. SQLite serves one process: stop `dayfly serve`
    before. Tokens that were created over HTTP stay.
    """
    import_on_use("dayfly.cli.operator_token", "token reset-operator").reset_operator()


def _table(found: Sequence[Token]) -> str:
    rows = [
        (one.id, one.name, one.kind, one.team, one.role, _state(one), _age(one.last_used_at), _age(one.created_at))
        for one in found
    ]
    return format_table(("ID", "NAME", "KIND", "TEAM", "ROLE", "STATE", "LAST USED", "AGE"), rows)


def _state(one: Token) -> str:
    if one.revoked_at is not None:
        return "revoked"
    if one.expires_at is None:
        return "valid"
    return "expired" if one.expires_at <= datetime.now(UTC) else f"until {one.expires_at:%Y-%m-%d %H:%M}"


def _age(at: datetime | None) -> str:
    return "never" if at is None else format_age(at)
