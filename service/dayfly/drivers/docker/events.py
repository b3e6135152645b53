"""The engine's event stream, filtered to objects of this installation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiodocker import Docker
from aiodocker.events import DockerEvents

from dayfly.domain.cluster.naming import LABEL_CLUSTER
from dayfly.drivers.docker.errors import translate
from dayfly.drivers.interfaces import EngineEvent
from dayfly.errors import EngineUnavailable

_ACTIONS: Final[Mapping[str, str]] = {"remove": "destroy"}
"""Podman's action → Docker's."""


async def follow(docker: Docker, labels: Mapping[str, str], since: datetime) -> AsyncIterator[EngineEvent]:
    """Events since `since` of the containers with all `labels`. Raises EngineUnavailable when the stream ends."""
    source = DockerEvents(docker)  # type: ignore[no-untyped-call]
    inbox = source.subscribe(create_task=False)  # type: ignore[no-untyped-call]
    filters = {"type": ["container"], "label": [f"{key}={value}" for key, value in labels.items()]}
    # A task group must not be held open across a yield, where the consumer may stop: `finally` cancels the task.
    pump = asyncio.create_task(source.run(filters=filters, since=f"{since.timestamp():.6f}"))
    try:
        while (raw := await inbox.get()) is not None:
            if (event := _event(raw, labels)) is not None:
                yield event
        await asyncio.wait([pump])
        cause = None if pump.cancelled() else pump.exception()
        if isinstance(cause, Exception):
            raise translate(cause, "engine events") from cause
        raise EngineUnavailable("engine events: the stream ended")
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


def _event(raw: Mapping[str, Any], labels: Mapping[str, str]) -> EngineEvent | None:
    """None for a container without `labels`, and for an exec's event: Dayfly's own commands cause those."""
    action = str(raw.get("Action", ""))
    # `exec_create: …` and `exec_start: …` of Docker, `exec` of Podman, `exec_died` of both.
    if raw.get("Type") != "container" or action.startswith("exec"):
        return None
    attributes: Mapping[str, str] = raw["Actor"]["Attributes"]
    if not labels.items() <= attributes.items():
        return None
    code = attributes.get("exitCode")
    return EngineEvent(
        at=datetime.fromtimestamp(raw["timeNano"] / 1e9, UTC),
        action=_ACTIONS.get(action, action),
        container=attributes.get("name", ""),
        cluster_id=attributes.get(LABEL_CLUSTER, ""),
        exit_code=int(code) if code is not None else None,
    )
