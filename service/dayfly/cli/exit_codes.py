"""The exit codes of the command."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from dayfly import errors


class ExitCode(IntEnum):
    """Scripts may branch on these."""

    OK = 0
    ERROR = 1
    """Anything without a code of its own; of `doctor` and `gc`: a check or a removal failed."""
    USAGE = 2
    """The command line, or a value on it, is invalid."""
    NOT_FOUND = 3
    CONFLICT = 4
    """Not possible in the present state, or the name is taken."""
    CAPACITY = 5
    """The host has no resources for it."""
    TIMEOUT = 6
    """A wait took longer than --timeout; the server continues."""
    FAILED = 7
    """The cluster, template, checkpoint or bake failed."""
    UNREACHABLE = 8
    """No server, or no container engine or database behind it."""
    INTERRUPTED = 130


HELP: Final = (
    "Exit codes: 0 success; 1 other errors; 2 usage; 3 not found; 4 conflict with the present state; 5 no capacity; "
    "6 timeout of a wait; 7 the cluster, template, checkpoint or bake failed; 8 server or engine unreachable; "
    "130 interrupted. `dayfly cluster ssh` exits as ssh does."
)

_OF_STATUS: Final = {
    400: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    422: ExitCode.USAGE,
    502: ExitCode.FAILED,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}
_OF_CODE: Final = {
    "capacity": ExitCode.CAPACITY,
    "ports_exhausted": ExitCode.CAPACITY,
    "disk_full": ExitCode.CAPACITY,
    "image_missing": ExitCode.NOT_FOUND,
    "internal": ExitCode.ERROR,
    "database_in_use": ExitCode.CONFLICT,
    "unexpected_answer": ExitCode.UNREACHABLE,
}
_OF_CLASS: Final = {
    errors.InvalidRequest: ExitCode.USAGE,
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.Conflict: ExitCode.CONFLICT,
    errors.InfrastructureError: ExitCode.UNREACHABLE,
    errors.Failure: ExitCode.FAILED,
}


def of_problem(code: str, status: int) -> ExitCode:
    return _OF_CODE.get(code) or _OF_STATUS.get(status, ExitCode.ERROR)


def of_error(error: errors.DayflyError) -> ExitCode:
    """The exit code for an error of a command that runs on the server's machine."""
    bases = (_OF_CLASS[one] for one in type(error).__mro__ if one in _OF_CLASS)
    return _OF_CODE.get(error.code) or next(bases, ExitCode.ERROR)
