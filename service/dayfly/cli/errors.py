"""Error messages: one line, a hint where there is one, and no traceback for expected errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from dayfly.client import ApiError, ClientError, ClusterFailed, InvalidArgument, Unreachable, WaitTimeout
from dayfly.errors import DayflyError


class CommandError(Exception):
    """A command failed. `code` as in the API's problems."""

    def __init__(self, code: str, detail: str, hint: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint


class ServerExtraMissing(CommandError):
    """A command of the server, but only the client is installed."""

    def __init__(self, command: str, module: str) -> None:
        super().__init__(
            "not_installed",
            f"`dayfly {command}` needs the server's packages ({module} is missing)",
            "pip install 'dayfly[server]'",
        )


@contextmanager
def checked_values() -> Iterator[None]:
    """Raise invalid values of options as CommandError, like the server's rejections."""
    try:
        yield
    except ValidationError as error:
        refused = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CommandError("invalid_request", "; ".join(refused)) from error


_HINTS = {
    "not_found": "dayfly cluster list",
    "image_missing": "dayfly image list",
    "not_ready": "dayfly cluster show NAME --wait ready",
    "engine_unavailable": "dayfly doctor",
    "unauthorized": "set DAYFLY_TOKEN",
}


def explain(error: Exception) -> str | None:
    """`error [code]: detail`, and a hint on a second line; None for an unexpected error."""
    parts: tuple[str, str, str | None] | None = None
    match error:
        case CommandError():
            parts = error.code, error.detail, error.hint
        case ApiError():
            parts = error.code, error.detail, _hint(error)
        case InvalidArgument():
            parts = "invalid_request", str(error), None
        case Unreachable():
            parts = "unreachable", str(error), "start the service with `dayfly serve`, or set DAYFLY_URL to its URL"
        case ClusterFailed():
            parts = _explain_failed(error)
        case WaitTimeout():
            parts = (
                "wait_timeout",
                str(error),
                f"the server continues; see `dayfly cluster show {error.cluster.name}`",
            )
        case ClientError():
            parts = "client", str(error), None
        case DayflyError():
            parts = error.code, error.message, _HINTS.get(error.code)
    if parts is None:
        return None
    code, detail, hint = parts
    line = f"error [{code}]: {detail}"
    return f"{line}\n  hint: {hint}" if hint else line


def _hint(error: ApiError) -> str | None:
    """For `not_found`, the requested path names the missing resource."""
    path = str(error.problem.get("instance", ""))
    if error.code == "not_found":
        for kind in ("template", "pool"):
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
    detail = f"cluster {cluster.name} failed{f' at {where}' if where else ''}: {fault.message}"
    hint = f"dayfly cluster evidence {cluster.name} {fault.evidence[0]}" if fault.evidence else None
    return fault.code, detail, hint
