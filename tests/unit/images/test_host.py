"""What a bake says of a machine that cannot bake."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import host


def test_everything_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in {"mke2fs", "lz4"} else found(tool) or tool)
    with pytest.raises(BakeFailed, match=r"root.*apt-get install e2fsprogs lz4"):
        host.check_host()


def test_debians_keyring_is_one_of_the_packages(tmp_path: Path) -> None:
    def lacking() -> tuple[host.Missing, ...]:
        return host.missing(which=lambda tool: tool, has_module=lambda _: True, user_id=0, root=tmp_path)

    assert lacking() == (host.Missing("Debian's keyring", "apt-get install debian-archive-keyring"),)
    keyring = tmp_path / "usr/share/keyrings/debian-archive-keyring.pgp"
    keyring.parent.mkdir(parents=True)
    keyring.touch()
    assert lacking() == ()
    assert host.find_keyring(tmp_path) == Path("/usr/share/keyrings/debian-archive-keyring.pgp")


def test_a_machine_that_has_it_all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    host.check_host()
