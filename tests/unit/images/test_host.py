"""What a bake says of a machine that cannot bake."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import host


def test_everything_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in {"mke2fs", "lz4"} else found(tool) or tool)
    with pytest.raises(BakeFailed, match=r"root.*apt-get install e2fsprogs lz4"):
        host.check_host()


def test_a_machine_that_has_it_all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    host.check_host()
