"""The operator's first token: made at the first start of an API, and shown once.

On a terminal it is printed; otherwise it is written to a file that its owner alone can read. It is never logged.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from dayfly.errors import InvalidRequest
from dayfly.settings import Settings
from dayfly.store import Store

FILE: Final = "operator-token"
"""In the state directory."""

_log = structlog.get_logger(__name__)


async def prepare_access(settings: Settings, store: Store) -> None:
    """Before an API serves: make teams of all owners, and the operator's first token.

    Raises InvalidRequest where the token can be shown neither on a terminal nor in the file: then there is none.
    """
    adopted = await store.teams.adopt()
    if adopted:
        _log.info("owners became teams", teams=adopted)
    file = None if sys.stderr.isatty() else settings.state_dir / FILE
    made = await store.tokens.create_first(_print if file is None else partial(_write, file))
    if made is not None:
        where = {"shown_on": "the terminal"} if file is None else {"file": str(file)}
        _log.warning("the operator's first token was made: store it, and remove the file", token=made.id, **where)


def _print(text: str) -> None:
    sys.stderr.write(f"The operator's token, which is not shown again:\n{text}\n")
    sys.stderr.flush()


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # one of another owner or mode would keep both
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(f"{text}\n")
            os.fsync(opened.fileno())
    except OSError as error:
        reason = f"the operator's first token cannot be written to {file}: {error.strerror or error}"
        raise InvalidRequest(f"{reason}; set DAYFLY_STATE_DIR, or correct the folder's owner") from error
