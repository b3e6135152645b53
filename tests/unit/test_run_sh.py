"""tests/run.sh: a signal ends the running stage after its clean-up; leftovers are reported."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.shell import REPO, Shell, is_alive, make_shell

SOURCES = ("tests/run.sh",)
SETUP = "TMPDIR=$PWD/tmp; need_root() { true; }; setup() { true; };"
# `timeout` forwards a signal only once it waits for its command, which may be sooner there.
AWAITED = 'until grep -q "^State:.S" /proc/$PPID/status; do :; done'
SLOW = f'trap "echo mended >mended; exit 2" TERM; {AWAITED}; echo $$ >pid; while true; do sleep 0.05; done'
BLOCKS = """
import os, pathlib, threading
import pytest

@pytest.fixture
def place():
    yield pathlib.Path(os.environ["PLACE"])
    (pathlib.Path(os.environ["PLACE"]) / "mended").write_text("yes")

def test_that_waits(place):
    (place / "pid").write_text(str(os.getpid()))
    threading.Event().wait(60)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = make_shell(tmp_path)
    shell.stand_in("docker", "case $1 in network) echo bridge ;; volume) cat volumes 2>/dev/null ;; esac; true")
    return shell


def test_a_signal_ends_the_stage_and_the_summary_names_it(shell: Shell) -> None:
    shell.stand_in("python", SLOW)
    with shell.start(f"{SETUP} main --only unit", sources=SOURCES) as process:
        pid = shell.pid("pid")
        process.terminate()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert (shell.folder / "mended").exists()
    assert not is_alive(pid)
    assert "=== SIGTERM during unit" in said
    assert any(line.split()[0::2] == ["unit", "INTERRUPTED"] for line in said.splitlines() if "INTERR" in line), said
    assert "nothing is left: ok" in said
    assert said.endswith("interrupted by SIGTERM\n")


def test_what_a_stage_started_and_did_not_end_is_killed(shell: Shell) -> None:
    server = '(trap "" TERM; echo $BASHPID >server; exec sleep 60) & until [ -s server ]; do sleep 0.02; done'
    shell.stand_in("python", f"{server}\n{SLOW}")
    with shell.start(f"{SETUP} main --only unit", sources=SOURCES) as process:
        shell.pid("pid")
        process.terminate()
        process.communicate(timeout=10)
    assert not is_alive(shell.pid("server"))


@pytest.mark.parametrize("stage", ["unit", "serial"])
def test_only_the_stage_itself_gets_the_signal(shell: Shell, stage: str) -> None:
    """It ends its servers when it has cleaned up with them."""
    server = '(trap "echo told >told" TERM; echo up >up; while true; do sleep 0.05; done) &'
    cleans_up = SLOW.replace("echo mended", "sleep 0.3; echo mended")
    shell.stand_in("dayfly", "")
    shell.stand_in("python", f"{server}\nuntil [ -s up ]; do sleep 0.02; done\n{cleans_up}")
    with shell.start(f"{SETUP} main --only {stage}", sources=SOURCES) as process:
        shell.pid("pid")
        process.terminate()
        process.communicate(timeout=10)
    assert (shell.folder / "mended").exists()
    assert not (shell.folder / "told").exists()


def test_pytest_and_its_workers_clean_up_and_end(shell: Shell) -> None:
    """With this project's own conftest.py, as a stage that is shared among processes."""
    stage = shell.folder / "tests" / "unit"
    stage.mkdir(parents=True)
    (stage.parent / "support").mkdir()
    for name in ("conftest.py", "support/reasons.py"):
        shutil.copy(REPO / "tests" / name, stage.parent / name)
    (stage / "test_slow.py").write_text(BLOCKS)
    # Without plugins: loading them, once a process, takes most of the time.
    alone = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTEST_PLUGINS=xdist.plugin"
    script = f"export {alone} PLACE=$PWD; {SETUP} main --only unit"
    shell.stand_in("python", f'exec {sys.executable} "$@"')
    with shell.start(script, sources=SOURCES) as process:
        worker = shell.pid("pid")
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert (shell.folder / "mended").exists(), said
    assert not is_alive(worker)
    assert "unit: tests/unit/test_slow.py::test_that_waits (interrupted)" in said


def test_the_end_tells_the_first_reasons(shell: Shell) -> None:
    message = "AssertionError: the sum is wrong\\nassert (1 + 1) == 3"
    line = f'{{"at": 3661, "test": "test_a.py::test_it", "phase": "call", "message": "{message}", "evidence": "busy"}}'
    writes = f"mkdir -p $TEST_REASONS; echo '{line}' >$TEST_REASONS/1.jsonl; exit 1"
    shell.stand_in("python", f'[ "$1" = -m ] || exec {sys.executable} "$@"; {writes}')
    result = shell.run(f"{SETUP} main --only unit", sources=SOURCES)
    _, _, reasons = result.said.partition("the first reasons:\n")
    assert reasons.splitlines() == [
        "01:01:01 unit: test_a.py::test_it (call)",
        "    AssertionError: the sum is wrong",
        "    assert (1 + 1) == 3",
        "  | busy",
        "FAILED: unit",
    ]


def test_the_end_of_the_output_of_a_stage_without_tests_is_told(shell: Shell) -> None:
    shell.stand_in("nice", 'shift 2; exec "$@"')
    shell.stand_in(
        "dayfly", 'case "$*" in "image bake bare") echo "no room: $(printf %0300d 0)"; exit 1 ;; esac; echo fine'
    )
    shell.stand_in(
        "python", "seq() { for ((i = 1; i <= $1; i++)); do echo $i; done; }; seq 9; echo left >volumes; exit 4"
    )
    result = shell.run(f"{SETUP} main --only unit --only doctor", sources=SOURCES)
    _, _, reasons = result.said.partition("the first reasons:\n")
    lines = reasons.splitlines()
    assert lines[:7] == ["unit: the end of its output", *(f"    {number}" for number in range(4, 10))]
    assert lines[7] == "image bare: the end of its output"
    assert lines[8].startswith("    no room: 000")
    assert len(lines[8]) == 204
    assert lines[9:] == [
        "nothing is left: the end of its output",
        "    left behind: volume left ",
        "FAILED: unit image bare nothing is left",
    ]


def test_the_twenty_slowest_tests_are_listed(shell: Shell) -> None:
    lines = "\n".join(f"{seconds}.00s call     tests/unit/test_a.py::test_{seconds}" for seconds in range(1, 26))
    shell.stand_in("python", f"echo '{lines}'")
    result = shell.run(f"{SETUP} main --only unit", sources=SOURCES)
    _, _, slowest = result.said.partition("the slowest:\n")
    assert [line.partition(".")[0] for line in slowest.splitlines()] == [*map(str, range(25, 5, -1)), "all passed"]


def test_a_signal_ends_the_bakes(shell: Shell) -> None:
    shell.stand_in("nice", 'shift 2; exec "$@"')
    shell.stand_in("dayfly", f'[ "$1" != image ] || {{ {SLOW}; }}')
    with shell.start(f"{SETUP} main --only doctor", sources=SOURCES) as process:
        pid = shell.pid("pid")
        process.terminate()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert "=== SIGTERM during the background jobs" in said
    assert (shell.folder / "mended").exists()
    assert not is_alive(pid)


def test_a_signal_ends_the_stage_in_the_background(shell: Shell) -> None:
    shell.stand_in("dayfly", "")
    shell.stand_in("python", SLOW)
    with shell.start(f"{SETUP} main --only serial", sources=SOURCES) as process:
        pid = shell.pid("pid")
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143
    assert (shell.folder / "mended").exists()
    assert not is_alive(pid)


def test_a_failure_in_the_background_fails_the_run(shell: Shell) -> None:
    shell.stand_in("dayfly", "")
    shell.stand_in("nice", 'shift 2; exec "$@"')
    shell.stand_in("python", 'case "$*" in *tests/integration/drivers*) echo 1 failed; exit 1 ;; esac')
    result = shell.run(f"{SETUP} main --only serial --only unit", sources=SOURCES)
    assert result.code == 1
    assert "unit: ok" in result.said
    assert "1 failed" in result.said
    assert "serial: FAILED (1)" in result.said


def test_what_is_left_fails_the_run(shell: Shell) -> None:
    shell.stand_in("python", "echo left >volumes")
    result = shell.run(f"{SETUP} main --only unit", sources=SOURCES)
    assert result.code == 1
    assert "left behind: volume left" in result.said


def test_an_engine_that_does_not_answer_is_not_taken_for_one_with_nothing_left(shell: Shell) -> None:
    shell.stand_in("python", "touch away")
    shell.stand_in("docker", '[ "$1" != ps ] || [ ! -e away ] || { echo no answer >&2; exit 1; }; echo some')
    result = shell.run(f"{SETUP} main --only unit", sources=SOURCES)
    assert result.code == 1
    assert "nothing is left: FAILED" in result.said
    assert "no answer" in result.said


def test_a_run_without_a_fault_passes(shell: Shell) -> None:
    shell.stand_in("python", "")
    result = shell.run(f"{SETUP} main --only unit", sources=SOURCES)
    assert (result.code, result.said.splitlines()[-1]) == (0, "all passed")


@pytest.mark.parametrize(
    ("options", "left_out"),
    [("", {"hosts"}), ("--fast", {"hosts", "e2e"}), ("--long", set()), ("--only hosts", {"unit", "serial", "e2e"})],
)
def test_which_stages_run(shell: Shell, options: str, left_out: set[str]) -> None:
    look = "for stage in unit serial integration hosts e2e; do wanted $stage || echo $stage; done"
    shown = shell.run(f"parse {options}; {look}", sources=SOURCES).said.split()
    expected = left_out | {"integration"} if "--only" in options else left_out
    assert set(shown) == expected


@pytest.mark.parametrize(("options", "built"), [("--only e2e", True), ("--only integration", False)])
def test_the_conformance_tests_are_built_for_end_to_end(shell: Shell, options: str, built: bool) -> None:
    shell.stand_in("nice", 'shift 2; exec "$@"')
    shell.stand_in("dayfly", "")
    shell.stand_in("python", '[ "$2" != tests.conformance ] || echo "built: $*"')
    result = shell.run(f"{SETUP} main {options}", sources=SOURCES)
    assert (result.code, result.said.splitlines()[-1]) == (0, "all passed"), result.said
    assert ("image conformance: ok" in result.said) == built
    assert ("built: -m tests.conformance build" in result.said) == built


def test_an_image_that_is_baked_after_the_stage_serial_is_not_left_behind(shell: Shell) -> None:
    shell.stand_in("nice", 'shift 2; exec "$@"')
    shell.stand_in("dayfly", '[ "$1 $2 $3" != "image bake k8s-debian" ] || echo sha256:new >>images')
    shell.stand_in("docker", 'case $1 in images) touch images; [ "${5-}" = label=dayfly.test ] || cat images ;; esac')
    shell.stand_in("python", "")
    result = shell.run(f"{SETUP} main --only serial --only e2e", sources=SOURCES)
    assert (result.code, result.said.splitlines()[-1]) == (0, "all passed"), result.said
    assert result.said.index("serial: ok") < result.said.index("image k8s-debian: ok")
