"""`dayfly serve`, `api` and `worker` as processes on SQLite, which serves one. Not here: the lock (tests/store)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service, free_port, wait_until_it_answers

REFUSED_SECONDS = 60
"""Within which a process has ended; the time is the interpreter's."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A state of its own, an engine that does not answer, and no process yet."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "DAYFLY_STATE_DIR": str(tmp_path / "state"),
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_URL": url,
        "DAYFLY_DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock",
    }
    made = Service(url, "default", tmp_path, environment)
    yield made
    for process in made.processes:
        process.end()


def refusal(service: Service, command: str) -> str:
    """The one line with which `dayfly COMMAND` ends at once."""
    ended = service.cli(command, timeout=REFUSED_SECONDS)
    assert (ended.returncode, ended.stdout) == (4 if "database_in_use" in ended.stderr else 1, "")
    [line] = ended.stderr.splitlines()
    return line


def test_a_second_service_on_the_file_ends_at_once_and_the_first_serves_on(service: Service) -> None:
    first = service.start("serve")
    wait_until_it_answers(service)
    line = refusal(service, "serve")
    assert line.startswith("error [database_in_use]: ")
    for named in (f"{service.folder}/state/dayfly.db", f"another process ({first.popen.pid})", "PostgreSQL"):
        assert named in line
    wait_until_it_answers(service)


def test_a_killed_services_lock_is_no_hindrance(service: Service) -> None:
    first = service.start("serve")
    wait_until_it_answers(service)
    first.signal(signal.SIGKILL)
    service.restart("serve")


@pytest.mark.parametrize("command", ["api", "worker"])
def test_half_a_service_is_refused_before_anything_begins(service: Service, command: str) -> None:
    line = refusal(service, command)
    assert line.startswith("error [sqlite_serves_one_process]: ")
    for named in (f"`dayfly {command}`", f"{service.folder}/state/dayfly.db", "`dayfly serve`", "PostgreSQL"):
        assert named in line
    assert not (service.folder / "state").exists()


def test_commands_of_the_operator_work_while_it_serves(service: Service) -> None:
    service.start("serve")
    wait_until_it_answers(service)
    told = service.cli("gc", "--dry-run")
    assert (told.returncode, told.stderr.splitlines()[0].split(":")[0]) == (8, "error [engine_unavailable]")
    examined = service.cli("doctor", "--json", timeout=120)
    assert '"found": "SQLite: ' in examined.stdout, examined.stderr
    assert "another process" in examined.stdout
