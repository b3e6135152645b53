"""`dayfly doctor --full` with a broken feature, and interrupted. Not here: a full success (tests/hosts)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import variant
from tests.support.service import docker

pytestmark = pytest.mark.vm

IMAGE = "dayfly/bare:latest"
BROKEN_SECONDS = 400
BEGUN_SECONDS = 180
END_SECONDS = 120
ALL = [
    *("host", "image", "service", "cold cluster", "ssh", "network", "registry", "cluster deletion", "template", "fork"),
    *("reset", "checkpoint", "hibernate and resume", "image transfer", "deletion", "gc", "nothing left", "clean-up"),
]


@contextmanager
def started(folder: Path, instance: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An examination as a process, which gets SIGTERM if the test does not await its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dayfly.cli.main", "doctor", "--full", "--json", *arguments],
        env={**os.environ, "DAYFLY_STATE_DIR": str(folder), "DAYFLY_INSTANCE": instance},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=END_SECONDS)


def report_of(process: subprocess.Popen[str], seconds: float) -> tuple[dict[str, Any], str]:
    """Its JSON, and what it showed meanwhile."""
    told, shown = process.communicate(timeout=seconds)
    assert told, shown
    report = json.loads(told)
    assert isinstance(report, dict)
    return report, shown


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {trial["name"]: trial["verdict"] for trial in report["trials"]}


def present(instance: str) -> set[str]:
    """The engine's objects of examinations of `instance`, by label."""
    form = '{{.Label "dayfly.instance"}}'
    listed = [docker(*argv, "--format", form) for argv in (("ps", "-a"), ("volume", "ls"), ("network", "ls"))]
    return {name for name in "\n".join(listed).split() if name.startswith(f"{instance}.doctor-")}


def test_an_image_whose_machines_do_not_boot_fails_where_it_fails_and_is_cleared_away(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    with (
        variant(IMAGE, kernel="/dayfly/no-kernel") as reference,
        started(tmp_path, "test-broken", "--image", reference, "--keep-evidence", str(evidence)) as process,
    ):
        report, shown = report_of(process, BROKEN_SECONDS)
    print(shown)
    assert (process.returncode, report["healthy"]) == (1, False)
    broken = next(trial for trial in report["trials"] if trial["verdict"] == "failed")
    assert (broken["name"], broken["code"]) == ("cold cluster", "vm_exited")
    ok = {"host", "image", "service", "deletion", "gc", "nothing left", "clean-up"}
    assert {name for name, verdict in verdicts(report).items() if verdict == "ok"} == ok
    assert {name for name, verdict in verdicts(report).items() if verdict == "not run"} == set(ALL) - ok - {
        "cold cluster"
    }
    kept = {path.name for path in (evidence / "cold-cluster").iterdir()}
    assert {"fault.txt", "service.log"} <= kept
    assert any(name.endswith("-events.txt") for name in kept)
    assert present("test-broken") == set()


def begun(process: subprocess.Popen[str], instance: str) -> None:
    """Returns when the examination has made a container of a cluster."""
    deadline = time.monotonic() + BEGUN_SECONDS
    form = '{{.Label "dayfly.instance"}}'
    while f"{instance}.doctor-" not in docker("ps", "--filter", "label=dayfly.cluster", "--format", form):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_told_to_end_it_clears_away_what_it_has_begun(tmp_path: Path) -> None:
    with started(tmp_path, "test-ended") as process:
        begun(process, "test-ended")
        process.send_signal(signal.SIGTERM)
        report, _ = report_of(process, END_SECONDS)
    assert (process.returncode, report["interrupted"], report["healthy"]) == (130, True, False)
    assert verdicts(report)["clean-up"] == "ok"
    assert next(trial["code"] for trial in report["trials"] if trial["name"] == "cold cluster") == "interrupted"
    assert present("test-ended") == set()


@pytest.mark.long
def test_though_its_terminal_is_gone_it_clears_away_what_it_has_begun(tmp_path: Path) -> None:
    with started(tmp_path, "test-gone") as process:
        begun(process, "test-gone")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=END_SECONDS)
    assert present("test-gone") == set()


def test_a_service_that_is_killed_is_told_and_what_it_made_is_cleared_away(tmp_path: Path) -> None:
    with started(tmp_path, "test-killed") as process:
        begun(process, "test-killed")
        service = f"pgrep --parent {process.pid} --full service_process"
        os.kill(int(subprocess.run(service.split(), capture_output=True, check=True).stdout), signal.SIGKILL)
        report, _ = report_of(process, END_SECONDS)
    codes = {trial["name"]: trial["code"] for trial in report["trials"]}
    assert (process.returncode, codes["cold cluster"], codes["template"]) == (1, "service_exited", "not_run")
    assert verdicts(report)["clean-up"] == "ok"
    assert present("test-killed") == set()
