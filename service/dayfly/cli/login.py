"""`dayfly login`, `logout` and `whoami`. Not here: the file of tokens (client/credentials.py)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_facts
from dayfly.cli.oidc_login import log_in
from dayfly.cli.options import Json, Output
from dayfly.cli.output_file import reported
from dayfly.cli.terminal import say
from dayfly.client import Client, Whoami
from dayfly.client.authorities import fetch_pinned_ca
from dayfly.client.credentials import credentials_file, forget_server, store_token
from dayfly.client.transport import server_url

Url = Annotated[
    str | None, typer.Argument(metavar="URL", help="The server. Default: DAYFLY_URL, or http://127.0.0.1:8700.")
]


def login(
    url: Url = None,
    oidc: Annotated[
        str | None,
        typer.Option(metavar="ISSUER", help="Log in with a browser, by this OIDC issuer of the server."),
    ] = None,
    ca_fingerprint: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="Trust the server's authority with this fingerprint, and store it."),
    ] = None,
) -> None:
    """Store a token for a server, after the server has accepted it.

    The token is asked for on the terminal, or read from standard input; with --oidc the issuer's is taken. The token
    is stored in dayfly/credentials.json below XDG_CONFIG_HOME (~/.config), which nobody else can read. The environment
    variable DAYFLY_TOKEN goes before it, DAYFLY_CA_FILE and DAYFLY_CA_FINGERPRINT before a stored authority. `dayfly
    tls fingerprint` on the server prints the fingerprint; a later login keeps the stored authority.
    """
    server = server_url(url)
    # Before the token is asked for: it goes to this server alone.
    authority = None if ca_fingerprint is None else fetch_pinned_ca(str(server), ca_fingerprint)
    token = _read_token() if oidc is None else _token_of_issuer(url, oidc, ca_fingerprint)
    with Client(url, token=token, ca_fingerprint=ca_fingerprint) as client:
        found = client.whoami()
    with reported(credentials_file()):
        path = store_token(server, token, authority)
    say(f"logged in to {server_url(url)} as {_sentence(found)}; the token is in {path}")


def logout(url: Url = None) -> None:
    """Remove the stored token and authority of a server. The token stays valid: `dayfly token revoke` ends it."""
    with reported(credentials_file()):
        forget_server(server_url(url))
    say(f"no token is stored for {server_url(url)}")


def whoami(output: Output = None, as_json: Json = False) -> None:
    """Show who the server takes this command's caller for: principal, team and role."""
    with Client() as client:
        found = client.whoami()
    emit(found, format_facts({"principal": found.principal, "team": found.team, "role": found.role}), output, as_json)


def _sentence(found: Whoami) -> str:
    return f"{found.principal}, {found.role} of team {found.team}"


def _read_token() -> str:
    given: str = typer.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    token = given.strip()
    if not token:
        raise CommandError("invalid_request", "no token was given on standard input", exit_code=ExitCode.USAGE)
    return token


def _token_of_issuer(url: str | None, issuer: str, ca_fingerprint: str | None) -> str:
    with Client(url, ca_fingerprint=ca_fingerprint) as client:
        return log_in(client, issuer).bearer
