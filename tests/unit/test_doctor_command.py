"""What a person reads of the doctor's report."""

from __future__ import annotations

import io

from rich.console import Console

from dayfly.cli.doctor import render
from dayfly.doctor import Check


def test_each_check_is_shown_with_its_advice_below() -> None:
    console = Console(file=io.StringIO(), width=80)
    render([Check("engine", "ok", "Docker 20.10"), Check("tun", "fail", "there is none", "modprobe tun")], console)
    assert isinstance(console.file, io.StringIO)
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["ok", "engine", "Docker", "20.10"],
        ["fail", "tun", "there", "is", "none"],
        ["→", "modprobe", "tun"],
    ]
