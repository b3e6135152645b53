"""`dayfly tls fingerprint`: what callers pin, read from the server's files. Not here: TLS itself (tls/)."""

from __future__ import annotations

import typer

from dayfly.cli import options
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.server_settings import command_settings
from dayfly.domain.security.server_authority import fingerprint
from dayfly.tls.server_tls import pinned_file

app = typer.Typer(
    no_args_is_help=True,
    help="Show the fingerprint that callers trust the server's certificate by.",
    add_completion=False,
)


@app.callback()
def _tls() -> None:
    """TLS of this machine's service."""


@app.command("fingerprint")
def show_fingerprint(output: options.Output = None, as_json: options.Json = False) -> None:
    """Print the fingerprint of this machine's service: of its authority, or of the last certificate of its file.

    Callers set DAYFLY_CA_FINGERPRINT to it.
    """
    file = pinned_file(command_settings())
    if file is None:
        raise CommandError(
            "bad_settings", "DAYFLY_TLS is off: the service has no certificate", exit_code=ExitCode.USAGE
        )
    try:
        found = fingerprint(file.read_text())
    except FileNotFoundError as error:
        hint = "the service makes its authority at its first start with DAYFLY_TLS=authority"
        raise CommandError("not_found", f"{file} does not exist", hint, exit_code=ExitCode.NOT_FOUND) from error
    except OSError as error:
        raise CommandError("tls_unusable", f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError("tls_unusable", f"{file} has no certificate in PEM form") from error
    emit({"fingerprint": found, "file": str(file)}, found, output, as_json)
