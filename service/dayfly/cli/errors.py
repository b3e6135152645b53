"""Error messages: one line, a hint where there is one, and no traceback for expected errors."""

from __future__ import annotations

import errno
import os
import shlex
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from pydantic import ValidationError

from dayfly.cli import exit_codes
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import printable_line
from dayfly.client import (
    ApiError,
    ClientError,
    ClusterFailed,
    InvalidArgument,
    LoginFailed,
    Unreachable,
    Untrusted,
    WaitTimeout,
)
from dayfly.errors import DayflyError


class CommandError(Exception):
    """A command failed. `code` as in the API's problems."""

    def __init__(
        self, code: str, detail: str, hint: str | None = None, *, exit_code: ExitCode = ExitCode.ERROR
    ) -> None:
        super().__init__(detail)
        self.exit_code = exit_code
        self.code = code
        self.detail = detail
        self.hint = hint

    @property
    def lines(self) -> str:
        """What the command prints: `error [code]: detail`, with the hint on a second line."""
        line = f"error [{self.code}]: {printable_line(self.detail)}"
        return f"{line}\n  hint: {printable_line(self.hint)}" if self.hint else line


@contextmanager
def checked_values() -> Iterator[None]:
    """Raise invalid values of options as CommandError, like the server's rejections."""
    try:
        yield
    except ValidationError as error:
        refused = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CommandError("invalid_request", "; ".join(refused), exit_code=ExitCode.USAGE) from error


@contextmanager
def ignored_not_found(ignored: bool) -> Iterator[None]:
    """End the command successfully if the block's resource does not exist and `ignored`."""
    try:
        yield
    except ApiError as error:
        if not (ignored and error.code == "not_found"):
            raise
        raise typer.Exit(ExitCode.OK) from error


_HINTS = {
    "not_found": "dayfly cluster list",
    "engine_unavailable": "run `dayfly doctor` on the server",
    "unauthenticated": "dayfly login, or set DAYFLY_TOKEN",
    "forbidden": "dayfly whoami",
}
"""For problems of a server, which may be another machine."""
_HINTS_HERE = {"engine_unavailable": "dayfly doctor"}
"""For commands that run on the server."""


def explain(error: Exception) -> CommandError | None:
    """An expected error as a command prints it; None for an unexpected error."""
    if isinstance(error, (ClientError, DayflyError, CommandError)):
        return _explain_own(error)
    found: CommandError | None = None
    match error:
        case UnicodeEncodeError():
            found = CommandError("invalid_request", "an argument is not valid UTF-8", exit_code=ExitCode.USAGE)
        case ImportError() if "socksio" in str(error):
            hint = "pip install 'httpx[socks]', or unset ALL_PROXY"
            found = CommandError("bad_proxy", "a SOCKS proxy needs the package socksio", hint, exit_code=ExitCode.USAGE)
        case ValueError() if "proxy" in str(error).lower():
            found = CommandError("bad_proxy", f"the proxy of the environment: {error}", exit_code=ExitCode.USAGE)
        case OSError(errno=errno.ENOSPC | errno.EIO):
            found = CommandError("not_written", f"standard output: {error.strerror}")
        case OSError() if (unusable := _unusable_certificates()) is not None:
            name, detail = unusable
            hint = f"unset {name}, or set it to certificates in PEM form"
            found = CommandError("bad_certificates", f"{name}: {detail}", hint, exit_code=ExitCode.USAGE)
    return found


def _explain_own(error: ClientError | DayflyError | CommandError) -> CommandError:
    found = CommandError("client", str(error))
    match error:
        case CommandError():
            found = error
        case ApiError():
            exit_code = exit_codes.of_problem(error.code, error.status)
            found = CommandError(error.code, error.detail, _hint(error), exit_code=exit_code)
        case InvalidArgument():
            found = CommandError("invalid_request", str(error), exit_code=ExitCode.USAGE)
        case LoginFailed():
            of_issuer = error.code == "login_unavailable"
            exit_code = ExitCode.UNREACHABLE if of_issuer else ExitCode.ERROR
            found = CommandError(error.code, str(error), exit_code=exit_code)
        case Unreachable():
            hint = "start the service with `dayfly serve`, or set DAYFLY_URL to its URL"
            found = CommandError("unreachable", str(error), hint, exit_code=ExitCode.UNREACHABLE)
        case Untrusted():
            hint = "set DAYFLY_CA_FINGERPRINT to what `dayfly tls fingerprint` prints on the server, or DAYFLY_CA_FILE"
            found = CommandError("untrusted", str(error), hint, exit_code=ExitCode.UNREACHABLE)
        case ClusterFailed():
            found = CommandError(*_explain_failed(error), exit_code=ExitCode.FAILED)
        case WaitTimeout():
            hint = f"the server continues; see `dayfly cluster show {error.cluster.name}`"
            found = CommandError("wait_timeout", str(error), hint, exit_code=ExitCode.TIMEOUT)
        case DayflyError():
            exit_code = exit_codes.of_error(error)
            found = CommandError(error.code, error.for_operator, _HINTS_HERE.get(error.code), exit_code=exit_code)
    return found


def _unusable_certificates() -> tuple[str, str] | None:
    """The variable that names certificates which cannot be used, and why."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if path and not Path(path).exists():
            return name, f"{path} does not exist"
    file = os.environ.get("SSL_CERT_FILE")
    try:
        if file:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:  # first: it is an OSError, with a text of OpenSSL's
        return "SSL_CERT_FILE", f"{file} is no file of certificates"
    except OSError as error:
        return "SSL_CERT_FILE", f"{file} cannot be read: {error.strerror}"
    return None


def _hint(error: ApiError) -> str | None:
    """For `not_found`, the requested path names the missing resource."""
    path = str(error.problem.get("instance", ""))
    if error.code == "not_found":
        for kind in ("template", "pool", "bake", "token", "team"):
            if path.startswith(f"/v1/{kind}s/"):
                return f"dayfly {kind} list"
        if "/checkpoints" in path:
            return "dayfly cluster checkpoint list NAME"
    return _HINTS.get(error.code)


def _explain_failed(error: ClusterFailed) -> tuple[str, str, str | None]:
    cluster, fault = error.cluster, error.cluster.error
    if fault is None:
        # A deleted cluster's name finds nothing any more.
        hint = f"dayfly cluster events {cluster.id}" if error.code in {"deleted", "not_hibernated"} else None
        return error.code, str(error), hint
    where = " ".join(part for part in (fault.node, fault.step) if part)
    if fault.code == "expired":
        hint = f"dayfly cluster show {cluster.name}"
        return fault.code, f"cluster {cluster.name} expired: {fault.message}", hint
    detail = f"cluster {cluster.name} failed{f' at {where}' if where else ''}: {fault.message}"
    own = [name for name in fault.evidence if name.startswith(f"{fault.step}/")]
    # Without a text of the step itself, no single one is known to have the reason.
    hint = f"evidence {cluster.name} {shlex.quote(own[0])}" if own else f"diagnostics {cluster.name}"
    return fault.code, detail, f"dayfly cluster {hint}"
