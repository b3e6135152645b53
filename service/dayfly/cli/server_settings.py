"""The server's settings, for commands that run on the server; an invalid setting is one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.settings import Settings
from dayfly.telemetry import configure_command_logging

_OPTIONS: Final = {"listen_address": "--address", "listen_port": "--port"}


def server_settings(**given: Any) -> Settings:
    """Settings from the options `given`, then from the environment. Raises CommandError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        sentence = "; ".join(_sentence(wrong, given) for wrong in error.errors(include_input=False))
        raise CommandError("bad_settings", sentence, exit_code=ExitCode.USAGE) from error


def command_settings() -> Settings:
    """The settings of a command that prints its failures itself. Raises CommandError."""
    settings = server_settings()
    configure_command_logging()
    return settings


def _sentence(wrong: ErrorDetails, given: Mapping[str, Any]) -> str:
    message = wrong["msg"].removeprefix("Value error, ")
    if not wrong["loc"]:
        return message  # not of one variable: the message names it
    name = str(wrong["loc"][0])
    return f"{_OPTIONS[name] if name in given else f'DAYFLY_{name.upper()}'}: {message}"
