"""The evidence of failures, written to a folder: a subfolder for each failed trial, and the service's log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.client import ClientError
from dayfly.doctor.full.faults import INTERRUPTED, Fault
from dayfly.errors import DayflyError

_COLLECT_SECONDS: Final = 180.0


@dataclass(frozen=True)
class Evidence:
    """`folder` None: no evidence is kept. `collect` returns the service's evidence now: file name → content.

    `write`: writes a file that only its owner can read, with its folders: diagnostics reveal much about a host.
    """

    folder: Path | None
    collect: Callable[[], Awaitable[Mapping[str, bytes]]]
    write: Callable[[Path, bytes], None]

    async def keep(self, trial: str, fault: Fault) -> None:
        """Write the fault and the service's evidence. A failed collection becomes a file and does not end the run."""
        if self.folder is None:
            return
        folder = self.folder / trial.replace(" ", "-")
        self.write(folder / "fault.txt", f"{fault.code}: {fault.message}\n".encode())
        for name, text in fault.evidence.items():
            self.write(folder / f"{name.replace('/', '-')}.txt", text.encode())
        if fault == INTERRUPTED:
            return  # the user waits for the end
        try:
            async with asyncio.timeout(_COLLECT_SECONDS):
                collected = await self.collect()
        except (TimeoutError, ClientError, DayflyError) as error:
            collected = {"not-collected.txt": f"{type(error).__name__}: {error}\n".encode()}
        for name, content in collected.items():
            self.write(folder / name, content)

    def keep_log(self, log: str) -> None:
        """Write the service's log, after a success, too."""
        if self.folder is not None:
            self.write(self.folder / "service.log", log.encode())
