"""`dayfly oidc`: the file of OIDC issuers and rules. Not here: logins by an issuer (oidc_login.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import options
from dayfly.cli.on_use import import_on_use

app = typer.Typer(no_args_is_help=True, help="Check the file of OIDC issuers and rules.", add_completion=False)


@app.callback()
def _oidc() -> None:
    pass


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that DAYFLY_OIDC_FILE names, or will name.")],
    claims: Annotated[
        Path | None,
        typer.Option(
            metavar="CLAIMS", help="A JSON file with the claims of a token: show what the rules make of them."
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The issuer of the claims. Default: the one of their `iss`.")
    ] = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Check the file, and with --claims show which rule matches and why others do not. No server is needed.

    Exit code 0 if the file is valid and a rule matches; 1 if none does; 2 if the file is invalid. No signature and no
    time is looked at: a server does that.
    """
    module = import_on_use("dayfly.cli.oidc_check", "oidc check")
    raise typer.Exit(module.check(file, claims, issuer, output, as_json=as_json))
