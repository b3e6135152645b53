"""The output of `dayfly doctor`."""

from __future__ import annotations

import io

from dayfly.cli.doctor import render
from dayfly.cli.progress.doctor import TrialView
from dayfly.cli.progress.live import Console
from dayfly.doctor import Check
from dayfly.doctor.full.report import TrialResult


def test_each_check_is_shown_with_its_advice_below() -> None:
    console = Console(file=io.StringIO(), width=80)
    render([Check("engine", "ok", "Docker 20.10"), Check("tun", "fail", "there is none", "modprobe tun")], console)
    assert isinstance(console.file, io.StringIO)
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["ok", "engine", "Docker", "20.10"],
        ["fail", "tun", "there", "is", "none"],
        ["→", "modprobe", "tun"],
    ]


def test_what_others_wrote_does_not_command_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    render([Check("engine", "fail", "\x1b[2J", "\x1b[2J")], console)
    view = TrialView(console)
    view.ended(TrialResult("ssh", "failed", 1.0, "\x1b[2J", "command_failed"))
    view.began("network")
    view.show_progress("\x1b[2J")
    console.print(view.render())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("\\x1b[2J") == 4
    assert "\x1b" not in console.file.getvalue()
