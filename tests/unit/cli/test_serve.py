"""`dayfly serve`, `api` and `worker` as processes on SQLite, which serves one. Not here: the lock (tests/store)."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dayfly.client import Client, Cluster
from dayfly.key_sources import KeyFile
from dayfly.store import NewCluster, Store
from tests.support.api import Worker
from tests.support.service import Service, wait_until_it_answers
from tests.support.specs import make_spec

REFUSED_SECONDS = 60
"""Within which a process has ended; the time is the interpreter's."""


def refusal(service: Service, command: str) -> str:
    """The only line of `dayfly COMMAND`, which ends at once."""
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


def test_a_taken_port_ends_the_service_before_anything_begins(service: Service) -> None:
    keys(service.folder)  # the first start tells that it made them
    port = service.environment["DAYFLY_LISTEN_PORT"]
    with socket.create_server(("127.0.0.1", int(port))):
        ended = service.cli("serve", timeout=REFUSED_SECONDS)
    sentence = f"the API cannot listen on port {port} at 127.0.0.1 (DAYFLY_LISTEN_PORT, DAYFLY_LISTEN_ADDRESS)"
    assert ended.stderr == f"error [ports_exhausted]: {sentence}: Address already in use\n"
    assert (ended.returncode, ended.stdout) == (5, "")


def test_the_log_says_where_the_api_listens_and_what_ends_it(service: Service) -> None:
    first = service.start("serve")
    wait_until_it_answers(service)
    assert f"listens=127.0.0.1:{service.environment['DAYFLY_LISTEN_PORT']}" in first.log.read_text()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    log = first.log.read_text()
    assert log.index("stopping") < log.index("stopped")
    assert "CTRL+C" not in log
    assert "Shutting down" not in log, "uvicorn's lines know nothing of the worker"


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
    assert '"found": "SQLite at ' in examined.stdout, examined.stderr
    assert "another process" in examined.stdout


def keys(folder: Path) -> KeyFile:
    """The file of the service's keys, made where it is missing."""
    file = KeyFile(folder / "state" / "secrets.key")
    file.read(make=True)
    return file


async def prepare(folder: Path, *, ready: bool) -> None:
    """A cluster `demo` in the state of a service that does not run: pending, or ready."""
    store = await Store.open(f"sqlite+aiosqlite:///{folder}/state/dayfly.db", keys(folder))
    try:
        if ready:
            await Worker(store).make()
        else:
            await store.clusters.create(NewCluster(name="demo", spec=make_spec(), owner="default"), None)
    finally:
        await store.close()


def test_a_planned_restart_breaks_no_wait(service: Service) -> None:
    asyncio.run(prepare(service.folder, ready=False))
    first = service.start("serve")
    wait_until_it_answers(service)
    held: list[httpx.Response] = []
    waited: list[Cluster] = []

    def hold() -> None:
        held.append(httpx.get(f"{service.url}/v1/clusters/demo?wait=ready&timeout=50", timeout=60))

    def wait() -> None:
        with Client(service.url) as client:
            waited.append(client.wait_ready("demo", timeout_seconds=120))

    threads = [threading.Thread(target=work, daemon=True) for work in (hold, wait)]
    for thread in threads:
        thread.start()
    with httpx.Client() as later:
        for _ in range(20):  # the held requests are on their way
            later.get(f"{service.url}/v1/clusters/demo").raise_for_status()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    threads[0].join(20)
    assert [(answer.status_code, answer.json()["phase"]) for answer in held] == [(200, "pending")]
    assert "Traceback" not in first.log.read_text()
    asyncio.run(prepare(service.folder, ready=True))
    service.start("serve")
    threads[1].join(60)
    assert [cluster.phase for cluster in waited] == ["ready"]


ISSUER = """
[[issuers]]
name = "people"
url = "https://issuer.example"
audience = "client"
client_id = "client"
"""


def test_a_wrong_file_of_oidc_rules_ends_the_service_before_anything_begins(service: Service) -> None:
    keys(service.folder)
    rules = service.folder / "oidc.toml"
    rules.write_text(ISSUER.replace("https:", "http:"))
    service.environment = {**service.environment, "DAYFLY_OIDC_FILE": str(rules)}
    ended = service.cli("serve", timeout=REFUSED_SECONDS)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(
        f"error [oidc_file_invalid]: {rules}: issuer 1 (people): 'http://issuer.example' is no https"
    )


def test_changed_oidc_rules_need_no_restart(service: Service) -> None:
    rules = service.folder / "oidc.toml"
    rules.write_text(ISSUER)
    first = service.start("serve", oidc_file=str(rules))
    wait_until_it_answers(service)

    def issuers() -> list[str]:
        return [one["name"] for one in httpx.get(f"{service.url}/v1/login").json()["issuers"]]

    assert issuers() == ["people"]
    rules.write_text(ISSUER + ISSUER)
    until(lambda: "the former rules stay in force" in first.log.read_text(), also=issuers)
    assert issuers() == ["people"]
    assert "two issuers have the name people" in first.log.read_text()
    rules.write_text(ISSUER.replace('"people"', '"staff"'))
    until(lambda: issuers() == ["staff"])


def until(holds: Callable[[], bool], also: Callable[[], object] = lambda: None) -> None:
    """Returns once it holds, and fails after some seconds; calls `also` before each look."""
    end = time.monotonic() + 20
    while True:
        also()
        if holds():
            return
        assert time.monotonic() < end
        time.sleep(0.2)
