"""Imports that wait until a command is used: `dayfly cluster …` starts quickly, and needs no server's packages."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any

from dayfly.cli.errors import CommandError


def import_on_use(module: str, command: str) -> ModuleType:
    """Raises CommandError where only the client is installed, and `dayfly COMMAND` needs more."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "dayfly":
            raise  # a module of Dayfly is missing: a defect
        detail = f"`dayfly {command}` needs the server's packages ({error.name} is missing)"
        raise CommandError("not_installed", detail, "in a clone of Dayfly: pip install '.[server]'") from error


def unwrap_help(command: Any) -> None:
    """Make each paragraph of the help one line: the terminal's width breaks it, and not the source's as well."""
    command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", command.help or "")
    for child in getattr(command, "commands", {}).values():
        unwrap_help(child)
