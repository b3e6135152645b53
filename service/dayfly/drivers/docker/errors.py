"""Translates errors of a Docker engine into errors of dayfly.errors: the only place that reads Docker's messages.

Docker's API has few status codes and many messages, so messages are matched; tests/unit/drivers has real ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from aiodocker.exceptions import DockerError

from dayfly.errors import (
    DayflyError,
    DiskFull,
    EngineRefused,
    EngineUnavailable,
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
    ("image not known", ImageMissing),
    ("tag does not exist", ImageMissing),
    ("manifest unknown", ImageMissing),
    ("repository does not exist", ImageMissing),
    # A stopping engine still answers for a while after its helpers have ended.
    ("is shutting down", EngineUnavailable),
    ("containerd.sock", EngineUnavailable),
    ("transport is closing", EngineUnavailable),
    ("client connection is closing", EngineUnavailable),
    ("ttrpc: closed", EngineUnavailable),
    ("context canceled", EngineUnavailable),
)
_NOT_NOW: Final = frozenset({502, 503, 504})
"""Temporary failures of the engine, or of a proxy before it."""
_BROKEN: Final = (DockerError, aiohttp.ClientError, OSError, json.JSONDecodeError)
"""The errors of a call to the engine. aiodocker raises JSONDecodeError for an answer that breaks off."""


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Raise every failure of the block as an error of dayfly.errors; `doing` begins its message.

    Of a task group's failures the first is raised: callers match errors by type.
    """
    try:
        yield
    except _BROKEN as error:
        raise translate(error, doing) from error
    except ExceptionGroup as group:
        first = _first_leaf(group)
        if isinstance(first, _BROKEN):
            raise translate(first, doing) from group
        raise first from group


def translate(error: Exception, doing: str) -> DayflyError:
    """`error` as an error of dayfly.errors; `doing` begins its message."""
    if isinstance(error, DockerError):
        if error.status == _CANNOT_CONNECT or error.status in _NOT_NOW:
            return EngineUnavailable(f"{doing}: {error.message.strip()}")
        return refusal(message_in(error.message), doing)
    if isinstance(error, TimeoutError):
        return EngineUnavailable(f"{doing}: the engine did not answer in time")
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and "no space left" in error.strerror.lower():
        return DiskFull(f"{doing}: {text}")
    return EngineUnavailable(f"{doing}: the connection to the engine broke: {text}")


def refusal(message: str, doing: str) -> DayflyError:
    """The engine's refusal as an error of dayfly.errors: EngineRefused unless `message` names a more exact one."""
    lowered = message.lower()
    kind = next((kind for phrase, kind in _PHRASES if phrase in lowered), EngineRefused)
    return kind(f"{doing}: {message.strip()}")


def message_in(message: str) -> str:
    """The text in `message` where that is JSON, as from an engine that failed before a stream began."""
    try:
        answer = json.loads(message)
    except ValueError:
        return message
    found = (answer.get("error") or answer.get("message")) if isinstance(answer, dict) else None
    return found if isinstance(found, str) else message


def is_port_taken(error: DockerError) -> bool:
    """Whether the engine refused because a host port is taken."""
    return isinstance(refusal(error.message, ""), PortsExhausted)


def is_name_taken(error: DockerError) -> bool:
    """Whether a container of that name exists already. Docker answers 409; Podman 500 with a message."""
    return is_status(error, 409) or "that name is already in use" in error.message


def is_status(error: DockerError, *statuses: int) -> bool:
    """Whether the engine answered with one of `statuses`."""
    return int(error.status) in statuses


def _first_leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
