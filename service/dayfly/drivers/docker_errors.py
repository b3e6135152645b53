"""Turns what goes wrong between us and a Docker engine into dayfly.errors: the one place that reads its prose.

Docker's API has few status codes and many messages, so messages are matched; tests/unit/drivers keeps real ones.
Not here: what to do about an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from aiodocker.exceptions import DockerError

from dayfly.errors import (
    DayflyError,
    DiskFull,
    DockerUnavailable,
    EngineRefused,
    ImageMissing,
    PortsExhausted,
)

_CANNOT_CONNECT: Final = 900
"""aiodocker's own status for an engine that could not be reached."""

_PHRASES: Final[tuple[tuple[str, type[DayflyError]], ...]] = (
    ("no space left on device", DiskFull),
    ("port is already allocated", PortsExhausted),
    ("all ports are allocated", PortsExhausted),
    ("address already in use", PortsExhausted),
    ("no such image", ImageMissing),
    ("image does not exist locally", ImageMissing),
    ("manifest unknown", ImageMissing),
    ("repository does not exist", ImageMissing),
)


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Raise every failure of the block as an error of dayfly.errors; `doing` begins its message.

    Of a task group's failures the first is raised: callers tell errors apart by type.
    """
    try:
        yield
    except (DockerError, aiohttp.ClientError, OSError) as error:
        raise translate(error, doing) from error
    except ExceptionGroup as group:
        first = _first_leaf(group)
        if isinstance(first, (DockerError, aiohttp.ClientError, OSError)):
            raise translate(first, doing) from group
        raise first from group


def translate(error: Exception, doing: str) -> DayflyError:
    """`error`, met while `doing`, as one of ours."""
    if isinstance(error, DockerError):
        if error.status == _CANNOT_CONNECT:
            return DockerUnavailable(f"{doing}: {error.message}")
        return refusal(error.message, doing)
    if isinstance(error, TimeoutError):
        return DockerUnavailable(f"{doing}: the engine did not answer in time")
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and "no space left" in error.strerror.lower():
        return DiskFull(f"{doing}: {text}")
    return DockerUnavailable(f"{doing}: the connection to the engine broke: {text}")


def refusal(message: str, doing: str) -> DayflyError:
    """The engine's no as one of ours: EngineRefused unless its message names something more exact."""
    lowered = message.lower()
    kind = next((kind for phrase, kind in _PHRASES if phrase in lowered), EngineRefused)
    return kind(f"{doing}: {message.strip()}")


def is_status(error: DockerError, *statuses: int) -> bool:
    """Whether the engine answered with one of `statuses`."""
    return int(error.status) in statuses


def _first_leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
