"""The command in a bake's container: its output, and its end at the end of its input."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from dayfly.cli import bake_in_container
from dayfly.errors import BakeFailed
from dayfly.images.container_bake import error_line, progress_line, result_line
from dayfly.images.progress import Progress
from tests.support.bake_program import BakeProgram

RUNNING = Progress("base", "running")


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> BakeProgram:
    monkeypatch.setattr(sys, "argv", ["bake_inside", "bare"])
    return BakeProgram(monkeypatch, bake_in_container)


def test_progress_and_result_are_lines(inside: BakeProgram, capsys: pytest.CaptureFixture[str]) -> None:
    async def bake(_: str, **more: Any) -> str:
        more["report"](RUNNING)
        return "sha256:1"

    assert inside.run(bake) == 0
    assert capsys.readouterr().out.splitlines() == [progress_line(RUNNING), result_line("sha256:1")]


def test_a_failure_is_a_line(inside: BakeProgram, capsys: pytest.CaptureFixture[str]) -> None:
    failure = BakeFailed("phase base: it broke", evidence={"output": "why"})

    async def bake(_: str, **__: Any) -> str:
        raise failure

    assert inside.run(bake) == 1
    assert capsys.readouterr().out.splitlines() == [error_line(failure)]


def test_it_cleans_up_and_ends_when_nobody_listens_any_more(inside: BakeProgram) -> None:
    cleaned: list[str] = []

    async def bake(_: str, **__: Any) -> str:
        inside.end_input()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")
        raise AssertionError

    assert inside.run(bake) == 130
    assert cleaned == ["up"]


def test_the_addresses_of_the_settings_reach_the_bake(inside: BakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    async def bake(_: str, **more: Any) -> str:
        given.update(more)
        return "sha256:1"

    monkeypatch.setenv("DAYFLY_DEBIAN_MIRROR", "https://mirror.example/debian")
    monkeypatch.setenv("DAYFLY_KUBERNETES_PACKAGES", "https://mirror.example/k8s")
    assert inside.run(bake) == 0
    assert given["mirrors"].debian == "https://mirror.example/debian"
    assert given["addresses"].kubernetes_packages == "https://mirror.example/k8s"
