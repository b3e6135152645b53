"""Subscribers of /v1/events, with restarts of their API process meanwhile: nobody misses an event or gets one twice.

    .venv/bin/python -m tests.bench.stream --subscribers 500 --events 600 --json result.json

Two API processes on one PostgreSQL that require authentication. All subscribers, each with a token of its own, are at
the first one, which is stopped after a quarter of the events, killed after a half, and started again each time; the
events come from requests to the second one, which go on while the first one ends, and while it is down. Prints the
memory of the first process for each open stream, before its first restart, and how long an event takes to all
subscribers. Exit code 1 if an event is missed or repeated, or if a stream takes more memory than MOST_KIB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Final

from dayfly.domain.security.principal import Role
from tests.bench.figures import Figures
from tests.bench.fleet import Fleet, fleet
from tests.bench.lean_http import connected, encoded
from tests.bench.process import IMAGE
from tests.support.callers import new_callers
from tests.support.databases import migrated_postgresql
from tests.support.postgres import postgres_server

MOST_KIB = 256.0
PATIENCE_SECONDS = 900
RESTARTS: Final = (signal.SIGTERM, signal.SIGKILL)
_PAUSE_SECONDS = 0.05
_CLUSTERS = 10
_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass
class Subscriber:
    """Follows all events, as a browser does: the id of the last whole frame is the place to continue from."""

    port: int
    token: Mapping[str, str]
    seen: list[int] = field(default_factory=list)
    last_id: int = 0
    retry_seconds: float = 1.0
    connections: int = 0

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(OSError):  # the API restarts
                await self._follow_one()
            await asyncio.sleep(self.retry_seconds)

    async def _follow_one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            headers = {**self.token, "Accept": "text/event-stream", "Last-Event-ID": str(self.last_id)}
            writer.write(encoded(self.port, "GET", "/v1/events", None, headers))
            status = await reader.readline()
            if not status or b" 503 " in status:
                return  # the API stops
            if b" 200 " not in status:
                raise RuntimeError(f"a subscriber got {status.decode()}")
            self.connections += 1
            await self._read(reader)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        number, has_data = self.last_id, False
        # Chunk sizes are on lines of their own, because each chunk is one frame.
        while (line := await reader.readline()).endswith(b"\n"):
            name, _, value = line.partition(b": ")
            if name == b"id":
                number = int(value)
            elif name == b"retry":
                self.retry_seconds = int(value) / 1000
            elif name == b"data":
                has_data = True
            elif line == b"\n":
                self.last_id = number
                if has_data:
                    self.seen.append(number)
                has_data = False


@dataclass
class Publisher:
    """Makes events by requests to the second process: each change of labels is one."""

    port: int
    token: Mapping[str, str]
    names: list[str] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    async def create(self) -> None:
        async with connected(self.port) as http:
            for _ in range(_CLUSTERS):
                answer = await http.request("POST", "/v1/clusters", {"image": IMAGE}, headers=self.token, expect=202)
                self.names.append(answer.json()["name"])

    async def publish(self, events: int) -> None:
        async with connected(self.port) as http:
            for _ in range(events):
                number = next(self.numbers)
                path = f"/v1/clusters/{self.names[number % _CLUSTERS]}"
                await http.request("PATCH", path, {"labels": {"number": str(number)}}, headers=self.token)

    async def recorded(self) -> list[int]:
        """The ids of all events, by pages."""
        found: list[int] = []
        async with connected(self.port) as http:
            while True:
                path = f"/v1/events?after={found[-1] if found else 0}"
                page = (await http.request("GET", path, headers=self.token)).json()["events"]
                if not page:
                    return found
                found += [one["id"] for one in page]


async def measure(running: Fleet, number: int, events: int) -> Figures:
    url = running.environment["DAYFLY_DATABASE_URL"]
    token, *tokens = await new_callers(url, "red", [Role.USER, *[Role.VIEWER] * number])
    subscribers = [Subscriber(running.ports["api"], one) for one in tokens]
    part, publisher = events // 4, Publisher(running.ports["api2"], token)
    async with asyncio.TaskGroup() as group:
        await publisher.create()
        await publisher.publish(_CLUSTERS)
        # The first stream loads what all need.
        tasks = [group.create_task(subscribers[0].follow())]
        await until_all_have(subscribers[:1], _CLUSTERS)
        before = rss_kib(running)
        tasks += [group.create_task(one.follow()) for one in subscribers[1:]]
        await until_all_have(subscribers, _CLUSTERS)
        idle = rss_kib(running) - before
        await publisher.publish(part)
        delay = await until_all_have(subscribers, _CLUSTERS + part)
        used = rss_kib(running) - before
        for restarts, end in enumerate(RESTARTS, start=1):
            ending = group.create_task(asyncio.to_thread(running.end, "api", end))
            await publisher.publish(part // 2)
            await ending
            starting = group.create_task(asyncio.to_thread(running.start, "api"))
            await publisher.publish(part - part // 2)
            await starting
            await until_all_have(subscribers, _CLUSTERS + (1 + restarts) * part)
        await publisher.publish(events - 3 * part)
        every = await publisher.recorded()
        await until_all_have(subscribers, len(every))
        for task in tasks:
            task.cancel()
    return {
        "subscribers": number,
        "restarts": len(RESTARTS),
        "events": len(every),
        "missed": sum(len(set(every) - set(one.seen)) for one in subscribers),
        "repeated": sum(len(one.seen) - len(set(one.seen)) for one in subscribers),
        "out_of_order": sum(a > b for one in subscribers for a, b in pairwise(one.seen)),
        "reconnected": sum(one.connections > len(RESTARTS) for one in subscribers),
        "memory_of_an_idle_stream_kib": idle / max(1, number - 1),
        "memory_of_a_used_stream_kib": used / max(1, number - 1),
        "last_event_to_all_seconds": delay,
    }


def rss_kib(running: Fleet) -> int:
    """Of the process with the streams."""
    found = _RSS.search(Path(f"/proc/{running.processes['api'].pid}/status").read_text())
    if found is None:
        raise RuntimeError("the process has no memory")
    return int(found[1])


async def until_all_have(subscribers: list[Subscriber], number: int) -> float:
    """The seconds until each subscriber has seen so many events."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(len(one.seen) >= number for one in subscribers):  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_SECONDS)
    return time.monotonic() - began


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    limits = {
        "max_event_streams": str(options.subscribers),
        "max_connections": str(4 * options.subscribers + 64),
        "loopback_is_operator": "false",
    }
    with (
        tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder,
        postgres_server() as server,
        migrated_postgresql(server) as url,
        fleet(Path(folder), url, workers=0, apis=2, **limits) as running,
    ):
        figures = asyncio.run(measure(running, options.subscribers, options.events))
    for title, value in figures.items():
        print(f"{title:32} {value:10.2f}")
    if options.json is not None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        report = {"at": at, "figures": figures, "bounds": {"stream_kib": MOST_KIB}}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    wrong = figures["missed"] + figures["repeated"] + figures["out_of_order"]
    wrong += figures["reconnected"] != figures["subscribers"]
    return int(bool(wrong) or (options.check and figures["memory_of_a_used_stream_kib"] > MOST_KIB))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--events", type=int, default=600)
    parser.add_argument("--no-check", dest="check", action="store_false", help="the memory has no bound")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
