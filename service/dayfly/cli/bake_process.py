"""Runs in the process of a bake that was requested over HTTP: the order is the first line of its standard input.

Not a command for people. It prints JSON lines as cli/bake_in_container.py does. It ends, and cleans up, when its
standard input ends: then its builder cancelled the bake, or is gone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from typing import Any, Final

from dayfly.cli.bake_in_container import print_line
from dayfly.cli.image_tools import open_tools
from dayfly.domain.bake import BakeOrder
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import DayflyError
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake
from dayfly.images.bake_process import ROOM, order_from
from dayfly.images.container_bake import error_line, progress_line, result_line, room_line
from dayfly.images.orders import ordered_recipe, takes_name
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
    watch, room = None, asyncio.Event()
    try:
        line = await reader.readline()
        if not line:
            raise asyncio.CancelledError
        watch = asyncio.create_task(_read_on(reader, room, task))
        image_id = await _bake(order_from(line), room)
    finally:
        if watch is not None:
            watch.cancel()
        source.close()
    print_line(result_line(image_id))


async def _bake(order: BakeOrder, room: asyncio.Event) -> str:
    """`room` is set when the builder has room for a verification."""

    async def ask(needs: Resources) -> None:
        room.clear()
        print_line(room_line(needs))
        await room.wait()

    settings = Settings()
    async with open_tools(settings) as tools:
        return await bake(
            ordered_recipe(order),
            images=tools.images,
            builder=tools.images,
            cache_dir=settings.cache_dir,
            report=lambda progress: print_line(progress_line(progress)),
            verify=partial(tools.verify, conformance=order.conformance),
            mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
            addresses=settings.bake_addresses,
            takes_name=takes_name(order),
            conformance=order.conformance,
            room=ask,
            state=order.state,
            host=tools.machine_host,
        )


async def _read_on(reader: asyncio.StreamReader, room: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """The builder's answers, and its end."""
    while line := await reader.readline():
        if line == ROOM:
            room.set()
    task.cancel()


if __name__ == "__main__":
    main()
