"""The report's JSON, its exit code, and its display."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.output_file import write_output
from dayfly.cli.progress.doctor import LastingConsole, TrialView, render_report
from dayfly.cli.progress.live import Console
from dayfly.doctor.checks import Check, Host
from dayfly.doctor.full.evidence import Evidence
from dayfly.doctor.full.examination import host_facts
from dayfly.doctor.full.faults import Fault
from dayfly.doctor.full.report import Report, TrialResult
from dayfly.errors import EngineRefused

OK = TrialResult("host", "ok", 0.2, "15 checks")
FAILED = TrialResult("cold cluster", "failed", 12.5, "node01 never answered", "ssh_timeout")
NOT_RUN = TrialResult("ssh", "not run", 0.0, "it needs `cold cluster`, which is not ok", "not_run")
REPORT = Report(
    host={"system": "Debian", "kernel": "6.1", "python": "3.13.1", "cores": 2, "memory_mib": 4096},
    engine={"version": "26.1", "storage_driver": "overlay2"},
    accelerator={"accelerator": "kvm", "reason": "a kernel booted on KVM", "seconds": 0.5},
    checks=(Check("tun", "ok", "/dev/net/tun"),),
    trials=(OK,),
    seconds=0.3,
)


def test_the_document() -> None:
    told = json.loads(json.dumps(asdict(replace(REPORT, trials=(OK, FAILED)))))
    assert told == {
        "healthy": False,
        "interrupted": False,
        "host": {"system": "Debian", "kernel": "6.1", "python": "3.13.1", "cores": 2, "memory_mib": 4096},
        "engine": {"version": "26.1", "storage_driver": "overlay2"},
        "accelerator": {"accelerator": "kvm", "reason": "a kernel booted on KVM", "seconds": 0.5},
        "checks": [{"name": "tun", "status": "ok", "found": "/dev/net/tun", "advice": ""}],
        "trials": [
            {"name": "host", "verdict": "ok", "seconds": 0.2, "detail": "15 checks", "code": None},
            {
                "name": "cold cluster",
                "verdict": "failed",
                "seconds": 12.5,
                "detail": "node01 never answered",
                "code": "ssh_timeout",
            },
        ],
        "seconds": 0.3,
    }


@pytest.mark.parametrize(
    ("trials", "interrupted", "exit_code"),
    [
        ((OK,), False, 0),
        ((OK, FAILED), False, 1),
        ((OK, NOT_RUN), False, 1),
        ((), False, 1),
        ((OK,), True, 130),
        ((OK, FAILED), True, 130),
    ],
)
def test_zero_only_if_every_trial_is_ok(trials: tuple[TrialResult, ...], interrupted: bool, exit_code: int) -> None:
    report = replace(REPORT, trials=trials, interrupted=interrupted)
    assert (report.exit_code, report.healthy) == (exit_code, exit_code == 0)


def test_the_table() -> None:
    console = Console(file=io.StringIO(), width=160)
    render_report(replace(REPORT, trials=(OK, FAILED, NOT_RUN)), console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["Debian,", "Linux", "6.1,", "Python", "3.13.1,", "2", "cores"]
    assert lines[1] == ["engine", "26.1,", "overlay2;", "machines", "run", "on", "kvm"]
    assert lines[3] == ["host", "ok", "0.2", "15", "checks"]
    assert lines[4][:5] == ["cold", "cluster", "failed", "12.5", "[ssh_timeout]"]
    assert lines[5][:4] == ["ssh", "not", "run", "-"]
    assert lines[-1] == ["1", "of", "3", "trials", "ok", "in", "0", "s"]


def test_without_a_terminal_a_line_when_a_trial_begins_and_one_when_it_ends() -> None:
    console = Console(file=io.StringIO(), width=40)
    with TrialView(console) as view:
        view.began("cold cluster")
        view.show_progress("boot of node01 (3 s)")
        assert "boot of node01 (3 s)" in str(view.render())
        view.ended(FAILED)
    assert isinstance(console.file, io.StringIO)
    begun, ended = console.file.getvalue().splitlines()
    assert begun == "… cold cluster"
    assert ended.split() == ["failed", "cold", "cluster", "12.5", "s", "[ssh_timeout]", "node01", "never", "answered"]


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error")])
def test_a_terminal_that_is_gone_keeps_nothing_from_going_on(error: OSError) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    with TrialView(LastingConsole(file=Gone())) as view:
        view.began("clean-up")
        view.ended(OK)


def test_facts_of_a_host(tmp_path: Path) -> None:
    for path, text in {
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "proc/meminfo": "MemTotal: 2097152 kB\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    facts = host_facts(Host(root=tmp_path, cores=lambda: 3))
    assert (facts["system"], facts["cores"], facts["memory_mib"]) == ("Debian GNU/Linux 13 (trixie)", 3, 2048)
    assert host_facts(Host(root=tmp_path / "none"))["memory_mib"] is None


async def test_evidence_is_its_owners_and_says_what_could_not_be_collected(tmp_path: Path) -> None:
    async def refuses() -> dict[str, bytes]:
        raise EngineRefused("no")

    folder = tmp_path / "kept"
    kept = Evidence(folder, refuses, write_output)
    await kept.keep("cold cluster", Fault("vm_exited", "QEMU ended", {"node01/console": "panic"}))
    kept.keep_log("started\n")
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in found.items()} == {
        "cold-cluster/fault.txt": "vm_exited: QEMU ended\n",
        "cold-cluster/node01-console.txt": "panic",
        "cold-cluster/not-collected.txt": "EngineRefused: no\n",
        "service.log": "started\n",
    }
    assert {path.stat().st_mode & 0o777 for path in found.values()} == {0o600}
    assert (folder / "cold-cluster").stat().st_mode & 0o777 == 0o700


async def test_evidence_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    async def nothing() -> dict[str, bytes]:
        return {}

    (tmp_path / "file").touch()
    kept = Evidence(tmp_path / "file", nothing, write_output)
    with pytest.raises(CommandError, match=r"file/cold/fault\.txt: Not a directory"):
        await kept.keep("cold", Fault("vm_exited", "QEMU ended"))


async def test_without_a_folder_nothing_is_collected() -> None:
    async def never() -> dict[str, bytes]:
        raise AssertionError("collected")

    kept = Evidence(None, never, write_output)
    await kept.keep("host", Fault("host_check_failed", "no tun"))
    kept.keep_log("started\n")
