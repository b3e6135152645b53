"""The server's settings, for commands that run on the server; an invalid setting is one line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dayfly.cli.errors import CommandError
from dayfly.settings import Settings


def server_settings(**given: Any) -> Settings:
    """From the environment, with what is `given` before it. Raises CommandError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = "; ".join(
            f"DAYFLY_{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}"
            for one in error.errors(include_input=False)
        )
        raise CommandError("bad_settings", wrong) from error
