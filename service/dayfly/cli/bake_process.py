"""Runs in the process of a bake that was requested over HTTP: the order is the first line of its standard input.

Not a command for people. It prints JSON lines as cli/bake_in_container.py does. It ends, and cleans up, when its
standard input ends: then its builder cancelled the bake, or is gone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Final

from dayfly.cli.bake_in_container import print_line
from dayfly.cli.image_tools import open_tools
from dayfly.domain.bake import BakeOrder
from dayfly.errors import DayflyError
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake
from dayfly.images.bake_process import order_from
from dayfly.images.container_bake import error_line, progress_line, result_line
from dayfly.images.orders import ordered_recipe
from dayfly.settings import Settings

_ORDER_BYTES: Final = 1 << 20


def main() -> None:
    """`python -m dayfly.cli.bake_process`."""
    try:
        asyncio.run(_main())
    except DayflyError as error:
        print_line(error_line(error))
        raise SystemExit(1) from None
    except asyncio.CancelledError:
        raise SystemExit(130) from None


async def _main() -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine of asyncio.run has a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    reader = asyncio.StreamReader(limit=_ORDER_BYTES)
    loop = asyncio.get_running_loop()
    source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watch = None
    try:
        line = await reader.readline()
        if not line:
            raise asyncio.CancelledError
        watch = asyncio.create_task(_cancel_at_end(reader, task))
        image_id = await _bake(order_from(line))
    finally:
        if watch is not None:
            watch.cancel()
        source.close()
    print_line(result_line(image_id))


async def _bake(order: BakeOrder) -> str:
    settings = Settings()
    async with open_tools(settings) as tools:
        return await bake(
            ordered_recipe(order),
            images=tools.images,
            builder=tools.images,
            cache_dir=settings.cache_dir,
            report=lambda progress: print_line(progress_line(progress)),
            verify=tools.verify,
            mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
            addresses=settings.bake_addresses,
        )


async def _cancel_at_end(reader: asyncio.StreamReader, task: asyncio.Task[Any]) -> None:
    while await reader.read(1024):
        pass
    task.cancel()


if __name__ == "__main__":
    main()
