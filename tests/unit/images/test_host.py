"""Hosts that cannot bake: the reason, and where the bake runs instead."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import host
from dayfly.images.host import Missing, missing, reason_for_container


def whole_machine(monkeypatch: pytest.MonkeyPatch, *, without: frozenset[str] = frozenset(), user: int = 0) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(shutil, "which", lambda tool, path: None if tool in without else f"/usr/bin/{tool}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


def test_everything_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_machine(monkeypatch, without=frozenset({"mke2fs", "lz4"}), user=1000)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        BakeFailed, match=r"root: .*lz4, mke2fs.*apt-get install .*e2fsprogs.*lz4.*dayfly\[bake\].*--in-container"
    ):
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
    whole_machine(monkeypatch)
    host.check_host()
    assert missing() == ()


def test_programs_that_only_roots_path_has_are_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_machine(monkeypatch, user=1000)
    monkeypatch.setenv("PATH", "/usr/bin")
    looked: list[str] = []

    def which(tool: str, path: str) -> str:
        looked.append(path)
        return f"/usr/sbin/{tool}"

    monkeypatch.setattr(shutil, "which", which)
    assert [problem.what for problem in missing()] == ["root"]
    assert set(looked) == {"/usr/bin:/usr/sbin:/sbin"}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    looked.clear()
    assert missing() == ()
    assert set(looked) == {"/usr/bin"}


@pytest.mark.parametrize(
    ("lacking", "asked", "reason"),
    [
        ((), None, None),
        (("root",), None, "a bake on this host lacks root"),
        (("root", "lz4"), None, "a bake on this host lacks root, lz4"),
        ((), True, "--in-container was given"),
        (("root",), True, "--in-container was given"),
        (("root",), False, None),
    ],
)
def test_where_a_bake_runs(lacking: tuple[str, ...], asked: bool | None, reason: str | None) -> None:
    assert reason_for_container(tuple(Missing(what, "install it") for what in lacking), asked) == reason
