"""Progress reports of a bake. Not here: their output (cli/image.py)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from dayfly.clock import Clock
from dayfly.errors import BakeFailed, DayflyError, DiskFull

PhaseState = Literal["waiting", "running", "cached", "done", "failed"]
_PHASE_LIMIT_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Progress:
    """The state of a phase, its running time in seconds, and its last line of output.

    `detail`: of a failure, the operator's detail (errors/base.py), which callers of the API never get.
    """

    phase: str
    state: PhaseState
    seconds: float = 0.0
    message: str = ""
    detail: str = ""


Report = Callable[[Progress], None]
OnLine = Callable[[str], None]


class Reporter:
    """Reports every phase to `report`, and adds the phase's name to its errors."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self._report = report
        self._clock = clock

    def within(self, name: str) -> Reporter:
        """A reporter of another image's phases, which have its name before their own."""
        return Reporter(
            lambda progress: self._report(replace(progress, phase=f"{name}: {progress.phase}")), self._clock
        )

    def cached(self, phase: str, message: str = "from the cache") -> None:
        self._report(Progress(phase, "cached", 0.0, message))

    def waiting(self, phase: str, message: str = "another bake is making it") -> None:
        self._report(Progress(phase, "waiting", 0.0, message))

    @asynccontextmanager
    async def phase(self, phase: str, *, limit_seconds: float = _PHASE_LIMIT_SECONDS) -> AsyncIterator[OnLine]:
        """Wraps the work of a phase. Raises the work's errors, and BakeFailed or DiskFull for an OSError."""
        started = self._clock.monotonic()

        def report(state: PhaseState, message: str = "", detail: str = "") -> None:
            self._report(Progress(phase, state, self._clock.monotonic() - started, message, detail))

        report("running")
        try:
            async with asyncio.timeout(limit_seconds) as limit:
                yield lambda line: report("running", line)
        except DayflyError as error:
            report("failed", error.message, error.operator_detail)
            raise type(error)(
                f"phase {phase}: {error.message}", evidence=error.evidence, operator_detail=error.operator_detail
            ) from error
        except TimeoutError as error:
            # The phase's own limit, or a limit within its work.
            message = f"it took longer than {limit_seconds:.0f} s" if limit.expired() else str(error)
            message = message or "a call within it took longer than its limit"
            report("failed", message)
            raise BakeFailed(f"phase {phase}: {message}") from error
        except OSError as error:
            report("failed", str(error))
            kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else BakeFailed
            raise kind(f"phase {phase}: {error}") from error
        report("done")
