"""Runs in the container of a bake: the bake that a host would run, with its progress as JSON lines.

Not a command for people. It ends, and cleans up, when its standard input ends: then its caller is gone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from dayfly.cli.image_tools import open_tools
from dayfly.errors import DayflyError
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake
from dayfly.images.container_bake import error_line, progress_line, result_line
from dayfly.settings import Settings


def print_line(line: str) -> None:
    """Print a line for the program that started this one."""
    with suppress(BrokenPipeError):  # that program is gone: the input ends as well, and the bake is cancelled
        print(line, flush=True)


def main() -> None:
    """`python -m dayfly.cli.bake_in_container RECIPE`."""
    try:
        asyncio.run(_main(sys.argv[1]))
    except DayflyError as error:
        print_line(error_line(error))
        raise SystemExit(1) from None
    except asyncio.CancelledError:
        raise SystemExit(130) from None


async def _main(recipe: str) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine of asyncio.run has a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    watch = asyncio.create_task(_cancel_at_end_of_input(task))
    try:
        settings = Settings()
        async with open_tools(settings) as tools:
            image_id = await bake(
                recipe,
                images=tools.images,
                builder=tools.images,
                cache_dir=settings.cache_dir,
                report=lambda progress: print_line(progress_line(progress)),
                verify=tools.verify,
                mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
                addresses=settings.bake_addresses,
                host=tools.machine_host,
            )
    finally:
        watch.cancel()
    print_line(result_line(image_id))


async def _cancel_at_end_of_input(task: asyncio.Task[Any]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    task.cancel()


if __name__ == "__main__":
    main()
