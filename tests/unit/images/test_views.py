"""What a bake and a transfer print: lines where nobody looks on, live ones on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from dayfly.cli.progress.bake import BakeView
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


def test_a_transfer_prints_each_layers_states_once() -> None:
    output = io.StringIO()
    with TransferView(Console(file=output, width=80)) as view:
        for current in (1, 2, 3):
            view.show(TransferProgress("abc", "Pushing", current, 3))
        view.show(TransferProgress("abc", "Pushed", 3, 3))
    assert output.getvalue().splitlines() == ["abc Pushing", "abc Pushed"]
