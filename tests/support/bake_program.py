"""A program that bakes in a process of its own, run in the test's process with a bake of the test's own."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class BakeProgram:
    """`module` has the program's `main`, `bake` and `open_tools`. A test can end the program's input, a pipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.monkeypatch = monkeypatch
        self._module = module
        read, self._write = os.pipe()
        monkeypatch.setattr(sys, "stdin", os.fdopen(read))
        monkeypatch.setattr(module, "open_tools", self._open)

    def write(self, line: bytes) -> None:
        os.write(self._write, line)

    def end_input(self) -> None:
        os.close(self._write)
        self._write = -1

    def run(self, bake: Any) -> int:
        """The exit code of the program, whose bake is `bake`."""
        self.monkeypatch.setattr(self._module, "bake", bake)
        try:
            self._module.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            if self._write != -1:
                os.close(self._write)
            sys.stdin.close()
        return 0

    @asynccontextmanager
    async def _open(self, settings: object) -> AsyncIterator[object]:
        yield SimpleNamespace(images=None, verify=print, machine_host=None)
