"""A followed console of a node that does not run."""

from __future__ import annotations

from dayfly.steps.observe.console import follow_console
from dayfly.testing.fakes import FakeEngine


async def test_it_prints_nothing_more() -> None:
    assert [chunk async for chunk in follow_console(FakeEngine(), "0123456789ab", "node01")] == []
