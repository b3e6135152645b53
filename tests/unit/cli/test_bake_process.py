"""The program of a bake that was requested over HTTP: its order, its output, and its end at the end of its input."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dayfly.cli import bake_process
from dayfly.domain.bake import BakeOrder
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import BakeFailed
from dayfly.images.bake_process import ROOM, order_line
from dayfly.images.container_bake import error_line, progress_line, result_line, room_line
from dayfly.images.progress import Progress
from dayfly.images.recipe import Recipe, load_recipe
from tests.support.bake_program import BakeProgram

RUNNING = Progress("base", "running")


class Program(BakeProgram):
    def order(self, order: BakeOrder) -> None:
        self.write(order_line(order))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch, bake_process)


def test_the_order_is_baked(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYFLY_DEBIAN_MIRROR", "file:/srv/debian")
    asked: list[tuple[Recipe, str | None]] = []

    async def bake(recipe: Recipe, **more: Any) -> str:
        asked.append((recipe, more["mirrors"].debian))
        more["report"](RUNNING)
        return "sha256:1"

    program.order(BakeOrder("k8s-debian", {"kubernetes_version": "v9"}))
    assert program.run(bake) == 0
    assert capsys.readouterr().out.splitlines() == [progress_line(RUNNING), result_line("sha256:1")]
    recipe = load_recipe("k8s-debian")
    [(asked_recipe, mirror)] = asked
    assert asked_recipe.vars == {**recipe.vars, "kubernetes_version": "v9"}
    assert mirror == "file:/srv/debian"


@pytest.mark.parametrize(("version", "takes"), [("v9", False), ("v1.20.2", True)])
def test_variables_do_not_take_the_name(program: Program, version: str, takes: bool) -> None:
    asked: list[bool] = []

    async def bake(_: Recipe, **more: Any) -> str:
        asked.append(more["takes_name"])
        return "sha256:1"

    program.order(BakeOrder("k8s-debian", {"kubernetes_version": version}))
    assert program.run(bake) == 0
    assert asked == [takes]


def test_a_verification_waits_for_the_answer_of_its_builder(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    needs, done = Resources(2, 2048, 10), list[object]()

    async def bake(_: Recipe, **more: Any) -> str:
        waiting = asyncio.create_task(more["room"](needs))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        program.write(ROOM)
        await waiting
        done.append(more["verify"].keywords)
        return "sha256:1"

    program.order(BakeOrder("k8s-debian-conformance", conformance=("a",)))
    assert program.run(bake) == 0
    assert capsys.readouterr().out.splitlines() == [room_line(needs), result_line("sha256:1")]
    assert done == [{"conformance": ("a",)}]


def test_a_failure_is_a_line(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    failure = BakeFailed("phase base: it broke", evidence={"output": "why"}, operator_detail="more")

    async def bake(_: Recipe, **__: Any) -> str:
        raise failure

    program.order(BakeOrder("bare"))
    assert program.run(bake) == 1
    assert capsys.readouterr().out.splitlines() == [error_line(failure)]


def test_an_order_that_is_no_longer_valid_is_a_line(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    async def bake(_: Recipe, **__: Any) -> str:
        raise AssertionError

    program.order(BakeOrder("bare", {"gone": 1}))
    assert program.run(bake) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert "invalid_request" in line


@pytest.mark.parametrize("ordered", [True, False])
def test_it_cleans_up_and_ends_when_its_builder_is_gone(program: Program, ordered: bool) -> None:
    cleaned: list[str] = []

    async def bake(_: Recipe, **__: Any) -> str:
        program.end_input()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")
        raise AssertionError

    if ordered:
        program.order(BakeOrder("bare"))
    else:
        program.end_input()
    assert program.run(bake) == 130
    assert cleaned == (["up"] if ordered else [])
