"""The evidence of a failed test: what a served API says of clusters and templates, and the machine's state."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dayfly.client import Client
from tests.support import evidence
from tests.support import service as services
from tests.support.api import Infrastructure, served
from tests.support.evidence import collected, service_lines
from tests.support.reasons import EVIDENCE_SECTION
from tests.support.service import Process, Service

pytest_plugins = ["pytester"]
LONG_AGO = 0.0


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "docker", lambda *arguments, **options: f"{tmp_path}\n")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server for all tests; each test uses its own names of clusters."""
    folder = tmp_path_factory.mktemp("server")
    with served(folder, Infrastructure()) as url:
        yield Service(url, "test", folder, {})


def part_of(lines: list[str], name: str) -> list[str]:
    """The line of a cluster or template, and the lines of its events."""
    begin = next(number for number, line in enumerate(lines) if name in line)
    end = next((n for n, line in enumerate(lines) if n > begin and not line.startswith("  ")), len(lines))
    return lines[begin:end]


def test_clusters_that_are_not_ready_come_first_with_error_and_last_events(service: Service) -> None:
    with Client(service.url) as client:
        for name in ("bad-lab", "good-lab"):
            client.create(name, image="bare", workers=1)
            client.get(name, wait="ready")
        client.create("slow-lab", image="bare", workers=1)
        lines = service_lines(service, LONG_AGO)
        assert [line.split()[1] for line in lines if re.search(r" (bad|slow|good)-lab ", line)] == [
            "slow-lab",
            "bad-lab",
            "good-lab",
        ]
        title, *events = part_of(lines, "bad-lab")
        failed = client.get("bad-lab")
    assert title == (f"cluster bad-lab {failed.id}: failed; error vm_exited at boot node01: QEMU ended by itself")
    assert len(events) == 5
    assert events[-1].partition("phase")[2] == " boot/node01: provisioning → failed"
    assert all(re.match(r"  \d\d:\d\d:\d\d \S+", line) for line in events)
    assert part_of(lines, "slow-lab")[0].endswith(": pending, queue_position: 1")
    ready, *events = part_of(lines, "good-lab")
    assert ready.endswith(": ready")
    assert [one.split(" ", 3)[3] for one in events][-2] == "step.done boot/node02: answers on SSH (12.5 s)"


def test_a_cluster_that_was_deleted_during_the_failure_is_shown_as_it_failed(service: Service) -> None:
    with Client(service.url) as client:
        client.create("bad-deleted", image="bare")
        client.get("bad-deleted", wait="ready")
        cluster = client.delete("bad-deleted").id
        client.wait_deleted(cluster)
    title, *events = part_of(service_lines(service, LONG_AGO), "bad-deleted")
    assert title.endswith("deleted; error vm_exited at boot node01: QEMU ended by itself")
    assert events[-1].endswith(" phase: failed → deleting")
    assert events[-2].endswith(" phase boot/node01: provisioning → failed")
    assert cluster not in str(service_lines(service, time.time() + 1))


def test_a_template_that_failed_is_shown_with_the_events_of_its_builder(service: Service) -> None:
    answers = {
        "/v1/clusters": {"clusters": []},
        "/v1/templates": {
            "templates": [
                {"id": "good", "phase": "ready", "error": None},
                {
                    "id": "feed",
                    "phase": "failed",
                    "error": {"code": "vm_exited", "step": "boot", "node": None, "message": "gone", "cluster": "ab12"},
                },
            ]
        },
    }
    event = {"id": 7, "at": "2026-01-01T09:00:01Z", "type": "step.failed", "message": "no boot", "step": "boot"}
    events = {"0": [{**event, "node": "node01", "seconds": None}], "7": []}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/clusters/ab12/events":
            return httpx.Response(200, json={"events": events[request.url.params["after"]]})
        return httpx.Response(200, json=answers[request.url.path])

    with httpx.Client(base_url="http://test/v1", transport=httpx.MockTransport(answer)) as http:
        found = list(evidence._records(evidence._Reader(http), LONG_AGO))
    assert found == [
        "template feed: failed; error vm_exited at boot: gone",
        "  09:00:01 step.failed boot/node01: no boot",
    ]


def test_the_evidence_has_few_lines_and_begins_with_the_machine(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_LINES", 8)
    evidence.pytest_runtest_setup(None)  # type: ignore[arg-type]
    with Client(service.url) as client:
        for name in ("bad-one", "bad-two"):
            client.create(name, image="bare")
            client.get(name, wait="ready")
    lines = collected([service], since=LONG_AGO)
    assert len(lines) == 8, lines
    assert re.fullmatch(r"… \d+ lines", lines[-1])
    form = (
        r"machine: load [\d.]+ [\d.]+ [\d.]+ on \d+ processors; \d+ of \d+ MiB of memory free; [\d.]+ GiB free in \S+; "
        r"processors: \d+ % user, \d+ % system, \d+ % idle, \d+ % steal"
    )
    assert re.fullmatch(form, lines[0]), lines[0]
    assert f"free in {tmp_path}" in lines[0]


def test_a_service_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "LOOK_SECONDS", 0.2)
    log = tmp_path / "api-0.log"
    with log.open("wb") as output:
        popen = subprocess.Popen([sys.executable, "-Sc", "print('no database'); raise SystemExit(3)"], stdout=output)
    popen.wait()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        service = Service(url, "test", tmp_path, {}, processes=[Process(log, popen)])
        assert service_lines(service, LONG_AGO) == [
            "api-0 ended with 3: no database",
            f"{url} does not answer: ReadTimeout('timed out')",
        ]


def test_a_look_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*arguments: str, **options: object) -> str:
        raise RuntimeError("no engine")

    monkeypatch.setattr(evidence, "docker", fails)
    monkeypatch.setattr(evidence, "_records", fails)
    lines = collected([Service("http://127.0.0.1:9", "test", tmp_path, {})], since=LONG_AGO)
    assert "docker cannot be looked at: RuntimeError('no engine')" in lines[0]
    assert lines[1:] == ["the service cannot be looked at: RuntimeError('no engine')"]


HOOKS = """
from tests.support.evidence import pytest_runtest_makereport, pytest_runtest_setup
"""
TESTS = """
import pytest

@pytest.fixture(scope="module")
def lab():
    raise RuntimeError("no lab")

def test_first(lab):
    pass

def test_second(lab):
    pass

def test_that_passes():
    pass
"""


def test_a_failed_tests_report_has_the_evidence(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "RUNNING", [])
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(HOOKS)
    pytester.makepyfile(TESTS)
    reports = pytester.inline_run().getreports("pytest_runtest_logreport")
    found = {
        report.nodeid.partition("::")[2]: dict(report.sections)[EVIDENCE_SECTION] for report in reports if report.failed
    }
    assert found.keys() == {"test_first", "test_second"}
    assert found["test_first"].startswith("machine: load ")
    assert found["test_second"].startswith("the same failure as that of ")
    assert found["test_second"].endswith("::test_first")


@pytest.mark.parametrize("error", [AssertionError, pytest.fail.Exception])
def test_a_service_that_ends_because_of_a_failure_is_looked_at_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException]
) -> None:
    monkeypatch.setattr(Service, "objects", lambda self: set())
    seen: list[bool] = []
    monkeypatch.setattr(
        services, "AT_FAILURE", [lambda service: seen.append(service.processes[0].popen.poll() is None)]
    )

    def start(service: Service, command: str) -> None:
        popen = subprocess.Popen([sys.executable, "-Sc", "import time; time.sleep(60)"])
        service.processes.append(Process(tmp_path / "log", popen))

    monkeypatch.setattr(Service, "start", start)

    def fail() -> None:
        with services.running_service(tmp_path, commands=("worker",)):
            running.extend(services.RUNNING)
            raise error("failed")

    running: list[Service] = []
    with pytest.raises(error, match="failed"):
        fail()
    assert len(running) == 1
    assert seen == [True]
    assert services.RUNNING == []
