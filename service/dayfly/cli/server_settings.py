"""The server's settings, for commands that run on the server; an invalid setting is one line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dayfly.cli.errors import CommandError
from dayfly.settings import Settings


def server_settings(**given: Any) -> Settings:
    """Settings from `given`, then from the environment. Raises CommandError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise CommandError("bad_settings", "; ".join(map(_sentence, error.errors(include_input=False)))) from error


def _sentence(wrong: ErrorDetails) -> str:
    if not wrong["loc"]:
        return wrong["msg"].removeprefix("Value error, ")  # not of one variable: the message names it
    return f"DAYFLY_{'_'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}"
