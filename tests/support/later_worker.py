"""A worker whose guests get a clock that is some days ahead; otherwise the worker of dayfly/app.py.

    python -m tests.support.later_worker --days 30

Its forks behave as if that time had passed since the save of their template.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import datetime, timedelta

from dayfly.app import open_infrastructure, worker_jobs
from dayfly.clock import SystemClock
from dayfly.key_sources import key_source
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.telemetry import configure_logging


class LaterClock(SystemClock):
    """The machine's own, and ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


async def work(ahead: timedelta) -> None:
    """Until killed."""
    settings = Settings()
    configure_logging(settings)
    store = await Store.open(settings.database, key_source(settings))
    async with open_infrastructure(settings, SystemClock()) as infrastructure:
        await asyncio.gather(*worker_jobs(settings, store, infrastructure, LaterClock(ahead)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=float, required=True)
    asyncio.run(work(timedelta(days=parser.parse_args().days)))


if __name__ == "__main__":
    main()
