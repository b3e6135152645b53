"""A builder with played bakes: `bare` succeeds, `k8s-debian` fails, and any other one runs until it is cancelled."""

from __future__ import annotations

import asyncio
from typing import Final

from dayfly.clock import SystemClock
from dayfly.controllers.bakes.builder import Builder, BuilderOptions
from dayfly.domain.bake import BakedImage, BakeOrder
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import BakeFailed
from dayfly.images.bake import AskForRoom
from dayfly.images.progress import Progress, Report
from dayfly.store import Store

IMAGE: Final = BakedImage("dayfly/bare:0123456789ab", "sha256:" + "cd" * 32)
FAILURE: Final = "phase node: ansible-playbook ended with exit code 2"


def played_builder(store: Store) -> Builder:
    options = BuilderOptions("played", "here", 100, 60.0, 5.0, 3, write_seconds=0.01)
    return Builder(store, _bake, _clean_up, _offered, _promote, options, SystemClock())


async def _bake(order: BakeOrder, report: Report, room: AskForRoom) -> BakedImage:
    report(Progress("base", "cached", 0.0, "from the cache"))
    report(Progress("node", "waiting", 0.0, "another bake is making it"))
    report(Progress("node", "running"))
    report(Progress("node", "running", 0.1, "TASK [node] \x1b[0;32mok"))
    if order.recipe == "bare":
        report(Progress("node", "done", 1.5))
        return IMAGE
    if order.recipe == "k8s-debian":
        report(Progress("node", "failed", 1.5, "ansible-playbook ended with exit code 2"))
        raise BakeFailed(FAILURE, evidence={"output": "fatal: [node]\nit broke"})
    await asyncio.Event().wait()
    raise AssertionError


async def _promote(name: str, image: BakedImage) -> None:
    raise AssertionError("no bake of a test asks for it")


async def _offered() -> Resources:
    return Resources(4, 8192, 100)


async def _clean_up(recipe: str) -> None:
    """Nothing is left of a played bake."""
