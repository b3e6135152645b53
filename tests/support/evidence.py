"""What the services of a failed test know, and how busy the machine is: a section of the test's report.

A conftest.py imports `pytest_runtest_setup` and `pytest_runtest_makereport` from here. tests/support/reasons.py keeps
the section for the end of tests/run.sh. Each look has a short time limit, and a look that fails is one line of it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, ParamSpec

import httpx
import pytest

from tests.support import service as services
from tests.support.reasons import EVIDENCE_SECTION
from tests.support.service import Service, docker

LOOK_SECONDS: Final = 5
"""The most that one look takes."""
TOTAL_SECONDS: Final = 20
"""No look at a service begins later."""
MAX_LINES: Final = 25
MAX_EVENTS: Final = 5
_WIDTH: Final = 240
_PURPOSES: Final = ("cluster", "template", "verification", "pool_member")

P = ParamSpec("P")
Record = Mapping[str, Any]
"""An object of the API's JSON."""


class _Seen:
    """The state between hooks."""

    ticks: tuple[int, ...] = ()
    """/proc/stat at the beginning of the test."""
    ended: tuple[str, ...] = ()
    """The evidence of services that ended during the failure."""
    error: BaseException | None = None
    test: str = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    _Seen.ticks, _Seen.ended = _processor_ticks(), ()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None:
        # A fixture that failed raises the same exception in each test that needs the fixture.
        if call.excinfo.value is _Seen.error:
            lines = [f"the same failure as that of {_Seen.test}"]
        else:
            lines = collected(services.RUNNING, since=call.start, before=_Seen.ended)
            _Seen.error, _Seen.test = call.excinfo.value, item.nodeid
        report.sections.append((EVIDENCE_SECTION, "\n".join(lines)))
    return report


def keep(service: Service) -> None:
    """Look at a service that a test made and ends because of a failure: at the report it will have ended."""
    since = time.time() - LOOK_SECONDS
    _Seen.ended += tuple(_tried("the service", service_lines, service, since))


services.AT_FAILURE.append(keep)


def collected(running: Sequence[Service], *, since: float, before: Sequence[str] = ()) -> list[str]:
    """The machine, then the services. `since`: clusters that were deleted later are shown, too."""
    lines = _tried("the machine", machine_lines, running)
    lines += before
    for service in reversed(running):
        lines += _tried("the service", service_lines, service, since)
    left_out = len(lines) - MAX_LINES
    if left_out > 0:
        lines = [*lines[: MAX_LINES - 1], f"… {left_out + 1} lines"]
    return [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 2]} …" for line in lines]


def machine_lines(running: Sequence[Service]) -> list[str]:
    """Load, memory, disk of the engine, and what the processors did since the test began."""
    load = " ".join(f"{part:.1f}" for part in os.getloadavg())
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(memory[name].split()[0]) >> 10 for name in ("MemTotal", "MemAvailable"))
    parts = [f"load {load} on {os.cpu_count()} processors", f"{free} of {total} MiB of memory free"]
    for engine in {service.engine for service in running} or {None}:
        parts += _tried("docker", _disk, engine)
    spent = [now - then for now, then in zip(_processor_ticks(), _Seen.ticks, strict=False)]
    if whole := sum(spent):
        user, nice, system, idle, _, _, _, steal = (round(100 * part / whole) for part in spent)
        parts.append(f"processors: {user + nice} % user, {system} % system, {idle} % idle, {steal} % steal")
    return [f"machine: {'; '.join(parts)}"]


def service_lines(service: Service, since: float) -> list[str]:
    """Its processes that ended, then its templates and clusters: those that are not ready first."""
    lines = [
        f"{process.log.stem} ended with {code}: {_last_line(process.log)}"
        for process in service.processes
        if (code := process.popen.poll()) is not None
    ]
    with httpx.Client(base_url=f"{service.url}/v1", timeout=LOOK_SECONDS, trust_env=False) as http:
        try:
            return lines + list(_records(_Reader(http), since))
        except httpx.HTTPError as error:
            return [*lines, f"{service.url} does not answer: {error!r}"]


class _Reader:
    """Reads JSON until the time is over."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._deadline = time.monotonic() + TOTAL_SECONDS

    def __call__(self, path: str, **query: object) -> Any:
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout(f"no more time for {path}")
        return self._http.get(path, params=query).raise_for_status().json()  # type: ignore[arg-type]


def _records(read: _Reader, since: float) -> Iterator[str]:
    living = read("/clusters", purpose=_PURPOSES, limit=100)["clusters"]
    deleted = read("/clusters", purpose=_PURPOSES, phase="deleted", limit=20)["clusters"]
    clusters = [*living, *(one for one in deleted if _seconds(one["deleted_at"]) >= since)]
    templates = read("/templates")["templates"]
    for template in (one for one in templates if one["phase"] != "ready"):
        yield f"template {template['id']}: {template['phase']}{_error(template)}"
        at_fault = (template["error"] or {}).get("cluster")
        if at_fault is not None and at_fault not in {one["id"] for one in clusters}:
            yield from _events(read, at_fault)
    # The newest first, as listed. A deleted cluster may be the one that failed: a fixture deletes what it made.
    for cluster in sorted(clusters, key=_is_ready):
        name = f"{cluster['purpose']} {cluster['name']} {cluster['id']}"
        yield f"{name}: {_state(cluster)}{_error(cluster)}{_step(read, cluster)}"
        yield from _events(read, cluster["id"])


def _is_ready(cluster: Record) -> bool:
    return bool(cluster["phase"] == "ready" and cluster["desired"] == "present" and cluster["reset_to"] is None)


def _state(cluster: Record) -> str:
    parts = [cluster["phase"]]
    if cluster["desired"] != "present" and cluster["phase"] != "deleted":
        parts.append(f"desired {cluster['desired']}")
    parts += [f"{name}: {cluster[name]}" for name in ("origin", "reset_to", "queue_position") if cluster[name]]
    return ", ".join(parts)


def _error(record: Record) -> str:
    if (error := record["error"]) is None:
        return ""
    at = " ".join(part for part in (error["step"], error["node"]) if part)
    return f"; error {error['code']}{f' at {at}' if at else ''}: {error['message']}"


def _step(read: _Reader, cluster: Record) -> str:
    """The steps that run, wait or have failed."""
    if _is_ready(cluster):
        return ""
    steps = [one for one in read(f"/clusters/{cluster['id']}")["steps"] if one["state"] != "done"]
    named = (f"{_place(one, 'name')} {one['state']} for {one['seconds']:.0f} s ({one['detail']})" for one in steps)
    return f"; step {', '.join(named)}" if steps else ""


def _events(read: _Reader, cluster: str) -> Iterator[str]:
    """The last events before the deletion."""
    events: list[Record] = []
    while page := read(f"/clusters/{cluster}/events", after=events[-1]["id"] if events else 0)["events"]:
        events += page
    for number, event in enumerate(events):
        if event["type"] == "phase" and event["message"].endswith("→ deleting"):
            events = events[: number + 1]
            break
    for event in events[-MAX_EVENTS:]:
        took = f" ({event['seconds']:.1f} s)" if event["seconds"] is not None else ""
        at = datetime.fromtimestamp(_seconds(event["at"]), UTC)
        yield f"  {at:%H:%M:%S} {event['type']} {_place(event, 'step')}: {event['message']}{took}".replace(" :", ":")


def _place(record: Record, step: str) -> str:
    return "/".join(part for part in (record[step], record["node"]) if part)


def _seconds(time_of_api: str) -> float:
    return datetime.fromisoformat(time_of_api).timestamp()


def _disk(engine: str | None) -> list[str]:
    folder = docker("info", "--format", "{{.DockerRootDir}}", engine=engine, timeout=LOOK_SECONDS).strip()
    return [f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free in {folder}"]


def _processor_ticks() -> tuple[int, ...]:
    """user, nice, system, idle, iowait, irq, softirq, steal"""
    return tuple(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]


def _tried(what: str, look: Callable[P, Iterable[str]], *arguments: P.args, **named: P.kwargs) -> list[str]:
    """The look's lines. Whatever makes it fail, a test's time limit included, must not hide the test's own failure."""
    try:
        return list(look(*arguments, **named))
    except (Exception, pytest.fail.Exception) as error:
        return [f"{what} cannot be looked at: {error!r}"]
