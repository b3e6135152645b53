"""Translates errors of a Docker engine into errors of dayfly.errors: the only place that reads Docker's messages.

Docker's API has few status codes and many messages, so messages are matched; tests/unit/drivers has real ones.
An error's message is Dayfly's own sentence. The engine's text, which may name addresses and paths behind the engine, is
the error's `operator_detail`, for the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import aiohttp
import structlog
from aiodocker.exceptions import DockerError

from dayfly.concurrency import first_leaf
from dayfly.errors import (
    DayflyError,
    DiskFull,
    EngineRefused,
    EngineUnavailable,
    ImageMissing,
    InfrastructureError,
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
_KIND_SENTENCES: Final[Mapping[type[DayflyError], str]] = {
    DiskFull: "no space is left on the engine's disk",
    PortsExhausted: "a host port is in use",
    ImageMissing: "the image does not exist",
    EngineUnavailable: "the engine is stopping",
}
_PHRASE_SENTENCES: Final = (
    ("is already in use", "the name is in use"),
    ("volume is in use", "the volume is in use"),
    ("is being used by the following container", "the volume is in use"),
    ("cannot join network of a non running container", "the container whose network it joins is not running"),
)
_STATUS_SENTENCES: Final[Mapping[int, str]] = {
    400: "the engine rejected the request",
    401: "the engine denied access",
    403: "the engine denied access",
    404: "the engine has no such object",
    409: "the engine reported a conflict with the object's present state",
}
_NOT_NOW: Final = frozenset({502, 503, 504})
"""Temporary failures of the engine, or of a proxy before it."""
_BROKEN: Final = (DockerError, aiohttp.ClientError, OSError, json.JSONDecodeError)
"""The errors of a call to the engine. aiodocker raises JSONDecodeError for an answer that breaks off."""

E = TypeVar("E", bound=DayflyError)

_log = structlog.get_logger(__name__)


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
        first = first_leaf(group)
        if isinstance(first, _BROKEN):
            raise translate(first, doing) from group
        raise first from group


def translate(error: Exception, doing: str) -> DayflyError:
    """`error` as an error of dayfly.errors; `doing` begins its message. All but an outage is logged.

    During an outage calls are repeated every second: those that give up log it.
    """
    ours = _translated(error, doing)
    return ours if isinstance(ours, InfrastructureError) else logged(ours)


def logged(error: E) -> E:
    """`error`, after its detail is in the log."""
    # A missing image is an everyday answer.
    log = _log.info if isinstance(error, ImageMissing) else _log.warning
    log(error.message, code=error.code, details=error.operator_detail)
    return error


def _translated(error: Exception, doing: str) -> DayflyError:
    if isinstance(error, DockerError):
        if error.status == _CANNOT_CONNECT:
            return EngineUnavailable(f"{doing}: the engine cannot be reached", operator_detail=error.message)
        if error.status in _NOT_NOW:
            sentence = f"{doing}: the engine is not available, HTTP {error.status}"
            return EngineUnavailable(sentence, operator_detail=error.message)
        return refusal(message_in(error.message), doing, status=error.status)
    if isinstance(error, TimeoutError):
        return EngineUnavailable(f"{doing}: the engine did not answer in time")
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and "no space left" in error.strerror.lower():
        return DiskFull(f"{doing}: no space is left on the disk", operator_detail=text)
    return EngineUnavailable(f"{doing}: the connection to the engine broke", operator_detail=text)


def refusal(message: str, doing: str, *, status: int = 0) -> DayflyError:
    """The engine's refusal as an error of dayfly.errors: EngineRefused unless `message` names a more exact one.

    `status`: that of the answer; 0 where the engine had already begun its answer.
    """
    kind = _kind(message)
    sentence = _KIND_SENTENCES.get(kind) or _refused(message.lower(), status)
    return kind(f"{doing}: {sentence}", operator_detail=message)


def _kind(message: str) -> type[DayflyError]:
    lowered = message.lower()
    return next((kind for phrase, kind in _PHRASES if phrase in lowered), EngineRefused)


def _refused(lowered: str, status: int) -> str:
    for phrase, sentence in _PHRASE_SENTENCES:
        if phrase in lowered:
            return sentence
    sentence = _STATUS_SENTENCES.get(status, "the engine reported an error")
    return f"{sentence}, HTTP {status}" if status else sentence


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
    return _kind(error.message) is PortsExhausted


def is_name_taken(error: DockerError) -> bool:
    """Whether a container of that name exists already. Docker answers 409; Podman 500 with a message."""
    return is_status(error, 409) or "that name is already in use" in error.message


def is_status(error: DockerError, *statuses: int) -> bool:
    """Whether the engine answered with one of `statuses`."""
    return int(error.status) in statuses
