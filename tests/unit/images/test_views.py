"""Output of bakes and transfers: plain lines, or live lines on a terminal."""

from __future__ import annotations

import io

import pytest

from dayfly.cli.progress.bake import BakeView
from dayfly.cli.progress.live import Console
from dayfly.cli.progress.transfer import TransferView
from dayfly.drivers.interfaces import TransferProgress
from dayfly.images.progress import Progress

BAKE = [
    Progress("base", "running"),
    Progress("base", "running", 1.0, "I: extracting archives..."),
    Progress("toolbox", "cached", 0.0, "made before"),
    Progress("base", "failed", 2.0, "mmdebstrap ended with exit code 25"),
]


def test_without_a_terminal_a_phase_prints_its_begin_and_its_end() -> None:
    output = io.StringIO()
    with BakeView(Console(file=output, width=120)) as view:
        for progress in BAKE:
            view.show(progress)
    lines = [line.split() for line in output.getvalue().splitlines()]
    assert [line[1] for line in lines] == ["base", "toolbox", "base"]
    assert lines[2][2:] == ["2.0", "s", "mmdebstrap", "ended", "with", "exit", "code", "25"]


def test_a_failed_phase_shows_the_operators_detail() -> None:
    output = io.StringIO()
    with BakeView(Console(file=output, width=120)) as view:
        view.show(Progress("image", "failed", 2.0, "the engine refused", "no such path"))
    assert "the engine refused (details: no such path)" in output.getvalue()


def test_on_a_terminal_every_phase_has_one_line_with_what_it_said_last() -> None:
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True)
    with BakeView(console) as view:
        for progress in BAKE:
            view.show(progress)
        with console.capture() as capture:
            console.print(view.render())
    assert [line.split()[1] for line in capture.get().splitlines()] == ["base", "toolbox"]
    assert "exit code 25" in capture.get()


def test_a_phase_that_waits_shows_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=100)
    view = BakeView(console)
    view.show(Progress("image", "waiting", 0.0, "another bake of this recipe runs"))
    view.show(Progress("base", "done", 2.0))
    now = 161.0
    with console.capture() as capture:
        console.print(view.render())
    first, second = capture.get().splitlines()
    assert "61.0 s  another bake of this recipe runs" in first
    assert "2.0 s" in second


@pytest.mark.parametrize("view", [BakeView, TransferView])
def test_what_others_print_does_not_command_the_terminal(view: type[BakeView] | type[TransferView]) -> None:
    output = io.StringIO()
    shown = view(Console(file=output, width=100))
    if isinstance(shown, BakeView):
        shown.show(Progress("base", "running", 0.0, "\x1b[2J"))
    else:
        shown.show(TransferProgress("abc", "\x1b[2J"))
    shown.console.print(shown.render())
    assert output.getvalue().count("\\x1b[2J") == 2
    assert "\x1b" not in output.getvalue()


PULL = [
    TransferProgress("latest", "Pulling from dayfly/bare"),
    TransferProgress("a", "Downloading", 1_000_000, 4_000_000),
    TransferProgress("b", "Downloading", 2_000_000, 6_000_000),
    TransferProgress("a", "Download complete"),
    TransferProgress("a", "Extracting", 1_000_000, 4_000_000),
    TransferProgress("a", "Pull complete"),
    TransferProgress("b", "Pull complete"),
]


def test_a_transfer_counts_the_bytes_that_are_here() -> None:
    view = TransferView(Console(file=io.StringIO(), width=100))
    seen = []
    for progress in PULL:
        view.show(progress)
        seen.append(view.render().plain.partition(" MB")[0])
    assert seen == ["Pulling from dayfly/bare", "1 of 4", "3 of 10", "6 of 10", "6 of 10", "6 of 10", "10 of 10"]


def test_a_transfer_prints_each_layers_states_once() -> None:
    output = io.StringIO()
    with TransferView(Console(file=output, width=80)) as view:
        for current in (1, 2, 3):
            view.show(TransferProgress("abc", "Pushing", current, 3))
        view.show(TransferProgress("abc", "Pushed", 3, 3))
    assert output.getvalue().splitlines() == ["abc Pushing", "abc Pushed"]
