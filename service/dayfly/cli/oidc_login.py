"""A person's login by an OIDC issuer, for `dayfly login --oidc`. Not here: where the token is stored."""

from __future__ import annotations

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration
from dayfly.cli.terminal import say
from dayfly.client import Client
from dayfly.client.device_login import DeviceCode, IssuedTokens, log_in_by_device


def log_in(client: Client, issuer_name: str) -> IssuedTokens:
    """Has the person log in by an issuer of the client's server; the terminal shows how.

    Raises CommandError for an issuer that the server does not have, LoginFailed, and the client's errors.
    """
    issuers = client.login_options().issuers
    found = next((issuer for issuer in issuers if issuer.name == issuer_name), None)
    if found is None:
        known = ", ".join(issuer.name for issuer in issuers) or "none"
        detail = f"the server has no issuer {issuer_name!r} for logins; it has: {known}"
        raise CommandError("not_found", detail, exit_code=ExitCode.NOT_FOUND)
    return log_in_by_device(found, _show)


def _show(code: DeviceCode) -> None:
    # On standard error: what a script reads from standard output is the result.
    say(f"Open {code.url} and enter the code {code.user_code}", err=True)
    if code.complete_url is not None:
        say(f"or open {code.complete_url}", err=True)
    say(f"The code is valid for {format_duration(code.expires_seconds)}; Ctrl-C cancels.", err=True)
