"""The process of service.py: API and worker, with settings from standard input as JSON.

It ends on SIGTERM, and when standard input ends: a killed examination leaves no service behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from dayfly.process import run
from dayfly.settings import Settings


async def _serve(settings: Settings) -> None:
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def on_input() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, on_input)
    await run(settings, api=True, worker=True)


if __name__ == "__main__":
    asyncio.run(_serve(Settings(**json.loads(sys.stdin.readline()))))
