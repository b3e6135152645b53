"""The server's settings, for commands that run on the server; an invalid setting is one line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.settings import Settings


def server_settings(**given: Any) -> Settings:
    """Settings from `given`, then from the environment. Raises CommandError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        sentence = "; ".join(map(_sentence, error.errors(include_input=False)))
        raise CommandError("bad_settings", sentence, exit_code=ExitCode.USAGE) from error


def _sentence(wrong: ErrorDetails) -> str:
    message = wrong["msg"].removeprefix("Value error, ")
    if not wrong["loc"]:
        return message  # not of one variable: the message names it
    return f"DAYFLY_{str(wrong['loc'][0]).upper()}: {message}"
