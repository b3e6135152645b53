"""Asynchronous context managers for fixtures of a module or a session, which outlive a test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def entered(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """`manager` for the duration of the block, in an event loop of its own."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(stack.enter_async_context(manager))
        finally:
            runner.run(stack.aclose())
