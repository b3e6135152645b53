"""A task group's failures, taken apart: the first one is the reason, later ones are its consequences."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def first_failure_only() -> AsyncIterator[None]:
    """Around a task group: raises the first failure itself, in place of the group that holds it."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from group
