"""The server's settings, for commands that run on the server; an invalid setting is one line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dayfly.cli.errors import CommandError
from dayfly.settings import Settings


def server_settings(**given: Any) -> Settings:
    """Settings from `given`, then from the environment. Raises CommandError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        invalid = "; ".join(
            f"DAYFLY_{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}"
            for one in error.errors(include_input=False)
        )
        raise CommandError("bad_settings", invalid) from error
