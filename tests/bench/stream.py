"""Subscribers of /v1/events, with a restart of the API in the middle: nobody misses an event or gets one twice.

    .venv/bin/python -m tests.bench.stream --subscribers 500 --events 600 --database postgresql --json result.json

Prints the memory of the API for each open stream, and how long the last event takes to all subscribers. Exit code 1 if
an event is missed or repeated, or if a stream takes more memory than MOST_KIB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import httpx

from tests.bench.figures import Figures
from tests.bench.fleet import Fleet, fleet
from tests.support.databases import migrated_postgresql, new_sqlite
from tests.support.postgres import postgres_server

MOST_KIB = 256.0
PATIENCE_SECONDS = 300
_PAUSE_SECONDS = 0.05
_CLUSTERS = 10
_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass
class Service:
    """The API, on another port after each restart; `port` is 0 meanwhile."""

    port: int = 0
    pid: int = 0

    @property
    def rss_kib(self) -> int:
        found = _RSS.search(Path(f"/proc/{self.pid}/status").read_text())
        if found is None:
            raise RuntimeError("the process has no memory")
        return int(found[1])


@dataclass
class Subscriber:
    """Follows all events, as a browser does: the id of the last whole frame is the place to go on at."""

    service: Service
    seen: list[int] = field(default_factory=list)
    last_id: int = 0
    connections: int = 0

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(OSError):  # the API restarts
                await self._follow_one()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow_one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        try:
            head = (
                f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
                f"Last-Event-ID: {self.last_id}\r\n\r\n"
            )
            writer.write(head.encode())
            status = await reader.readline()
            if b" 200 " not in status:
                return
            self.connections += 1
            number, has_data = self.last_id, False
            # Chunk sizes are on lines of their own, because each chunk is one frame.
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    number = int(line[4:])
                elif line.startswith(b"data: "):
                    has_data = True
                elif line == b"\n":
                    self.last_id = number
                    if has_data:
                        self.seen.append(number)
                    has_data = False
        finally:
            writer.close()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield new_sqlite(folder / "dayfly.db")
        return
    with postgres_server() as server, migrated_postgresql(server) as url:
        yield url


@asynccontextmanager
async def running(service: Service, folder: Path, url: str, subscribers: int) -> AsyncIterator[None]:
    await asyncio.to_thread(folder.mkdir)
    limits = {"max_event_streams": str(subscribers), "max_connections": str(4 * subscribers + 64)}
    opened = fleet(folder, url, workers=0, **limits)
    found: Fleet = await asyncio.to_thread(opened.__enter__)
    try:
        service.port, service.pid = found.port, found.processes["api"].pid
        yield
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


async def publish(service: Service, names: list[str], numbers: Iterator[int], events: int) -> None:
    """Each change of labels is one event; a change whose answer is lost is repeated, and is no event then."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for _ in range(events):
            number = next(numbers)
            url = f"http://127.0.0.1:{service.port}/v1/clusters/{names[number % len(names)]}"
            (await http.patch(url, json={"labels": {"number": str(number)}})).raise_for_status()


async def create(service: Service) -> list[str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=60) as http:
        answers = [await http.post("/v1/clusters", json={"image": "bare"}) for _ in range(_CLUSTERS)]
    return [str(answer.raise_for_status().json()["name"]) for answer in answers]


async def recorded(service: Service) -> list[int]:
    """The ids of all events, by pages."""
    found: list[int] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=60) as http:
        while True:
            page = (await http.get("/v1/events", params={"after": found[-1] if found else 0})).json()["events"]
            if not page:
                return found
            found += [one["id"] for one in page]


async def until_all_have(subscribers: list[Subscriber], number: int) -> float:
    """The seconds until each subscriber has seen so many events, and, for 0, until each is connected."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(one.connections and len(one.seen) >= number for one in subscribers):  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_SECONDS)
    return time.monotonic() - began


async def measure(folder: Path, url: str, number: int, events: int) -> Figures:
    service, numbers, half = Service(), count(), events // 2
    subscribers = [Subscriber(service) for _ in range(number)]
    async with asyncio.TaskGroup() as group:
        async with running(service, folder / "first", url, number):
            names = await create(service)
            await publish(service, names, numbers, _CLUSTERS)
            before = service.rss_kib
            tasks = [group.create_task(one.follow()) for one in subscribers]
            await until_all_have(subscribers, _CLUSTERS)
            memory = (service.rss_kib - before) / number
            await publish(service, names, numbers, half)
        async with running(service, folder / "second", url, number):
            await publish(service, names, numbers, events - half)
            delay = await until_all_have(subscribers, _CLUSTERS + events)
            grown = (service.rss_kib - before) / number
            every = await recorded(service)
        for task in tasks:
            task.cancel()
    return {
        "subscribers": number,
        "events": len(every),
        "missed": sum(len(set(every) - set(one.seen)) for one in subscribers),
        "repeated": sum(len(one.seen) - len(set(one.seen)) for one in subscribers),
        "out_of_order": sum(a > b for one in subscribers for a, b in pairwise(one.seen)),
        "reconnected": sum(one.connections > 1 for one in subscribers),
        "memory_of_an_idle_stream_kib": memory,
        "memory_of_a_used_stream_kib": grown,
        "last_event_to_all_seconds": delay,
    }


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as name, database(options.database, Path(name)) as url:
        figures = asyncio.run(measure(Path(name), url, options.subscribers, options.events))
    for title, value in figures.items():
        print(f"{title:32} {value:10.2f}")
    if options.json is not None:
        report = {"database": options.database, "figures": figures, "aims": {"stream_kib": MOST_KIB}}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    wrong = figures["missed"] + figures["repeated"] + figures["out_of_order"]
    wrong += figures["reconnected"] != figures["subscribers"]
    return int(bool(wrong) or (options.check and figures["memory_of_a_used_stream_kib"] > MOST_KIB))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--events", type=int, default=600)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--no-check", dest="check", action="store_false", help="the memory has no bound")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
