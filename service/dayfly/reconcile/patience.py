"""How often and how long: attempts, pauses, and the wait for an engine that is away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dayfly.clock import Clock
from dayfly.drivers.protocols import ContainerEngine
from dayfly.errors import DatabaseUnavailable, DockerUnavailable, LeaseLost

NOT_ITS_FAULT: Final = (DockerUnavailable, DatabaseUnavailable, LeaseLost)
"""What tells nothing of the cluster that it was met with: what was to be done is for another pass, or somebody else."""
_FIRST_LOOK_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Patience:
    """How often a step is tried, and the pause before its second attempt; the pause doubles with each further one."""

    attempts: int
    backoff_seconds: float

    def backoff(self, attempt: int) -> float:
        return float(self.backoff_seconds * 2 ** (attempt - 1))


async def until_engine_answers(engine: ContainerEngine, clock: Clock) -> None:
    """Wait without an end: an engine that is away is no failure of any cluster, and its host may take long to boot."""
    pause = _FIRST_LOOK_SECONDS
    while True:
        await clock.sleep(pause)
        try:
            await engine.info()
        except DockerUnavailable:
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return
