"""Runs a command's coroutine so that SIGTERM ends it as Ctrl-C does: cancelled, with everything cleaned up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from dayfly.cli.terminal import say

T = TypeVar("T")


def run_interruptible(work: Coroutine[Any, Any, T], said: str = "interrupted") -> T:
    """Run `work`; its result. On an interruption, print `said` and exit with code 130."""

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio.run has a task
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(said, err=True)
        raise typer.Exit(130) from None
