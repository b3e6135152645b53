"""The engine's event stream, narrowed to what Dayfly made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiodocker import Docker
from aiodocker.events import DockerEvents

from dayfly.domain.naming import LABEL_CLUSTER
from dayfly.drivers.docker_errors import translate
from dayfly.drivers.protocols import EngineEvent
from dayfly.errors import DockerUnavailable


async def follow(docker: Docker, labels: Sequence[str], since: datetime) -> AsyncIterator[EngineEvent]:
    """Container events since `since` of what carries all `labels` (each `key=value`).

    Raises DockerUnavailable when the stream ends.
    """
    source = DockerEvents(docker)  # type: ignore[no-untyped-call]
    inbox = source.subscribe(create_task=False)  # type: ignore[no-untyped-call]
    filters = {"type": ["container"], "label": list(labels)}
    # A task group must not be held open across a yield (the consumer may stop there): the task is ended by hand.
    pump = asyncio.create_task(source.run(filters=filters, since=f"{since.timestamp():.6f}"))
    try:
        while (raw := await inbox.get()) is not None:
            if (event := _event(raw)) is not None:
                yield event
        await asyncio.wait([pump])
        cause = None if pump.cancelled() else pump.exception()
        if isinstance(cause, Exception):
            raise translate(cause, "engine events") from cause
        raise DockerUnavailable("engine events: the stream ended")
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


def _event(raw: Mapping[str, Any]) -> EngineEvent | None:
    """None for events about commands in containers: our own looking would wake whoever watches."""
    action = str(raw.get("Action", ""))
    if raw.get("Type") != "container" or action.startswith("exec_"):
        return None
    attributes: Mapping[str, str] = raw["Actor"]["Attributes"]
    code = attributes.get("exitCode")
    return EngineEvent(
        at=datetime.fromtimestamp(raw["timeNano"] / 1e9, UTC),
        action=action,
        container=attributes.get("name", ""),
        cluster_id=attributes.get(LABEL_CLUSTER, ""),
        exit_code=int(code) if code is not None else None,
    )
