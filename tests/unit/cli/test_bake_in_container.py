"""The command in a bake's container: its output, and its end at the end of its input."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from dayfly.cli import bake_in_container
from dayfly.errors import BakeFailed
from dayfly.images.container_bake import error_line, progress_line, result_line
from dayfly.images.progress import Progress

RUNNING = Progress("base", "running")


class Inside:
    """bake_inside with a bake of the test's own and an input that the test can end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        read, self._write = os.pipe()
        monkeypatch.setattr(sys, "stdin", os.fdopen(read))
        monkeypatch.setattr(sys, "argv", ["bake_inside", "bare"])
        monkeypatch.setattr(bake_in_container, "open_tools", self._open)

    def end_input(self) -> None:
        os.close(self._write)
        self._write = -1

    def run(self, bake: Any) -> int:
        self.monkeypatch.setattr(bake_in_container, "bake", bake)
        try:
            bake_in_container.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            if self._write != -1:
                os.close(self._write)
            sys.stdin.close()
        return 0

    @asynccontextmanager
    async def _open(self, settings: object) -> AsyncIterator[object]:
        yield SimpleNamespace(images=None, verify=None)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Inside:
    return Inside(monkeypatch)


def test_progress_and_result_are_lines(inside: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    async def bake(_: str, **more: Any) -> str:
        more["report"](RUNNING)
        return "sha256:1"

    assert inside.run(bake) == 0
    assert capsys.readouterr().out.splitlines() == [progress_line(RUNNING), result_line("sha256:1")]


def test_a_failure_is_a_line(inside: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    failure = BakeFailed("phase base: it broke", evidence={"output": "why"})

    async def bake(_: str, **__: Any) -> str:
        raise failure

    assert inside.run(bake) == 1
    assert capsys.readouterr().out.splitlines() == [error_line(failure)]


def test_it_cleans_up_and_ends_when_nobody_listens_any_more(inside: Inside) -> None:
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


def test_the_addresses_of_the_settings_reach_the_bake(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    async def bake(_: str, **more: Any) -> str:
        given.update(more)
        return "sha256:1"

    monkeypatch.setenv("DAYFLY_DEBIAN_MIRROR", "https://mirror.example/debian")
    monkeypatch.setenv("DAYFLY_KUBERNETES_PACKAGES", "https://mirror.example/k8s")
    assert inside.run(bake) == 0
    assert given["mirrors"].debian == "https://mirror.example/debian"
    assert given["addresses"].kubernetes_packages == "https://mirror.example/k8s"
