"""How a bake tells what it does. Not here: how that is shown (cli/image.py)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dayfly.clock import Clock
from dayfly.errors import BakeFailed, DayflyError, DiskFull

PhaseState = Literal["waiting", "running", "cached", "done", "failed"]
_PHASE_LIMIT_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Progress:
    """What phase stands how, since how many seconds it runs (or ran), and the last thing it said."""

    phase: str
    state: PhaseState
    seconds: float = 0.0
    message: str = ""


Report = Callable[[Progress], None]
OnLine = Callable[[str], None]


class Reporter:
    """Tells `report` of every phase, and gives what goes wrong in one the phase's name."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self._report = report
        self._clock = clock

    def cached(self, phase: str, message: str = "made before") -> None:
        self._report(Progress(phase, "cached", 0.0, message))

    def waiting(self, phase: str) -> None:
        self._report(Progress(phase, "waiting", 0.0, "another bake is making it"))

    async def watch(self, phase: str, make: Callable[[Path, OnLine], Awaitable[None]], folder: Path) -> None:
        """Run `make` as the phase `phase`; each line it says is reported."""
        async with self.phase(phase) as on_line:
            await make(folder, on_line)

    @asynccontextmanager
    async def phase(self, phase: str) -> AsyncIterator[OnLine]:
        """Around the work of a phase. Raises what the work raises, and BakeFailed or DiskFull for an OSError."""
        started = self._clock.monotonic()

        def tell(state: PhaseState, message: str = "") -> None:
            self._report(Progress(phase, state, self._clock.monotonic() - started, message))

        tell("running")
        try:
            async with asyncio.timeout(_PHASE_LIMIT_SECONDS) as limit:
                yield lambda line: tell("running", line)
        except DayflyError as error:
            tell("failed", error.message)
            raise type(error)(f"phase {phase}: {error.message}", evidence=error.evidence) from error
        except TimeoutError as error:
            # The phase's own limit, or one of something within it.
            message = f"it took longer than {_PHASE_LIMIT_SECONDS:.0f} s" if limit.expired() else f"time-out: {error}"
            tell("failed", message)
            raise BakeFailed(f"phase {phase}: {message}") from error
        except OSError as error:
            tell("failed", str(error))
            kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else BakeFailed
            raise kind(f"phase {phase}: {error}") from error
        tell("done")
