"""The output of `dayfly doctor`."""

from __future__ import annotations

import io
import json

import pytest
import yaml
from typer.testing import CliRunner

from dayfly.cli.doctor import render
from dayfly.cli.main import app
from dayfly.cli.progress.doctor import TrialView
from dayfly.cli.progress.live import Console
from dayfly.doctor.checks import Check
from dayfly.doctor.full.report import Report, TrialResult


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


@pytest.mark.parametrize("full", [False, True])
def test_each_format_of_other_commands(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    checks = (Check("engine", "ok", "Docker 20.10"), Check("tun", "fail", "there is none", "modprobe tun"))
    trials = (TrialResult("ssh", "failed", 1.0, "no answer", "command_failed"),)
    report = Report(host={}, engine={}, accelerator={}, checks=checks, trials=trials, seconds=1.0)

    async def examine(_: object) -> tuple[Check, ...]:
        return checks

    async def examine_fully(*_: object) -> Report:
        return report

    monkeypatch.setattr("dayfly.cli.doctor._examine", examine)
    monkeypatch.setattr("dayfly.cli.doctor._until_stopped", examine_fully)

    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["doctor", *(["--full"] if full else []), *arguments])
        assert done.exit_code == 1, done.output
        return done.stdout

    found = json.loads(printed("--json"))
    assert (found["healthy"], found["checks"][1]["advice"]) == (False, "modprobe tun")
    assert json.loads(printed("--output", "json")) == found
    assert yaml.safe_load(printed("--output", "yaml")) == found
    assert printed("-o", "name").split() == (["ssh"] if full else ["engine", "tun"])
    assert printed("-o", "wide") == printed()
