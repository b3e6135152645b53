"""Usage of a thousand clusters in virtual time adds up to the second, over restarts, hibernation and clock steps."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from dayfly.store import Store
from tests.support.inline_store import inline_store
from tests.support.usage_play import UsagePlay, check
from tests.support.virtual_time import VirtualLoop, running_loop, virtual_boot_time


class VirtualTime:
    """That of the running VirtualLoop, whose beginning is the database's clock."""

    def true_ms(self) -> int:
        return round(running_loop().time() * 1000)

    def offset_ms(self) -> int:
        return round(running_loop().began.timestamp() * 1000)

    def pass_time(self, milliseconds: int) -> None:
        running_loop().skip(milliseconds / 1000)

    def set_clock(self, milliseconds: int) -> None:
        running_loop().began += timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_clusters_add_up(seed: int) -> None:
    async def scenario(first: Store) -> None:
        play = UsagePlay(VirtualTime(), lambda: Store(first._database, virtual_boot_time), seed)
        await play.run(clusters=1000, rounds=40)
        report = await check(play)
        assert report.total.vcpu_seconds > 10**6
        assert sum(not one.startswith("pool:") for one in play.principals.values()) == 1000
        assert play.kills > 20
        assert len(play.account.closed) > 1000
        assert len(play.account.open) > 50
        shapes = {used for *_, used, _, _ in play.account.closed}
        assert any(used[0] == 0 for used in shapes), "none was hibernated"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, inline_store() as store:
        runner.run(scenario(store))
