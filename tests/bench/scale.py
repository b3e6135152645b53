"""The cost of the service at scale, with a fake engine: one process on SQLite; an API and two workers on PostgreSQL.

    .venv/bin/python -m tests.bench.scale --json result.json [--database sqlite|postgresql|both]

Creation one by one and all at once, idleness, deletion; claims from a pool, one by one and as many at once as the pool
has members; pages of very many records; the cost of each kind of pass by the number of clusters. Prints a table with a
column for each database; exit code 1 if a target is missed (--no-check: never). PostgreSQL runs without fsync, like
SQLite in its mode.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dayfly.store import Store
from tests.bench import bursts, claims, creation, idle, listing, passes
from tests.bench.figures import Figures, missed, table
from tests.bench.fleet import fleet
from tests.support.databases import KEYS
from tests.support.postgres import postgres_server

AIMS = {
    "alone_first_step_p99_ms": 50.0,
    "claim_p99_ms": 100.0,
    "_without_member": 0.0,
    "_core_percent": 1.0,
    **{f"list_{page}_p50_ms": 20.0 for page in listing.PAGES},
    "_growth": 1.1,
}
"""End of a figure's name → the most that it may be."""
PARTS = ("lives", "claims", "bursts", "listing", "passes")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    columns: dict[str, Figures] = {}
    with databases(options.database) as found:
        for name, new_database in found:
            columns[name] = asyncio.run(measure(options, new_database))
    print(table(columns, AIMS))
    failures = missed(columns, AIMS)
    print("\n".join(failures) or "every aim is met")
    if options.json is not None:
        options.json.write_text(json.dumps(report(options, columns, failures), indent=2) + "\n")
    return 1 if failures and options.check else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this (may be repeated)")
    parser.add_argument("--clusters", type=int, default=1000, help="created at once")
    parser.add_argument("--callers", type=int, default=50, help="connections that do so")
    parser.add_argument("--alone", type=int, default=200, help="clusters created one by one")
    parser.add_argument("--claims", type=int, default=200, help="clusters taken from a pool, one by one")
    parser.add_argument("--members", type=int, default=10, help="of that pool, which refills itself meanwhile")
    parser.add_argument("--burst", type=int, default=10, help="members of a pool, all claimed at once")
    parser.add_argument("--bursts", type=int, default=20, help="how often")
    parser.add_argument("--copies", type=int, default=4, help="of each request, with one key, in as many bursts more")
    parser.add_argument("--records", type=int, default=10_000, help="listed")
    parser.add_argument("--numbers", type=int, nargs="+", default=[100, 300, 1000, 3000], help="clusters about a pass")
    parser.add_argument("--rounds", type=int, default=50, help="of each page and each pass")
    parser.add_argument("--workers", type=int, default=2, help="worker processes, on PostgreSQL")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--no-check", dest="check", action="store_false")
    return parser.parse_args(argv)


NewDatabase = Callable[[Path], AbstractContextManager[str]]
"""Makes an empty database, in a folder if it is a file: a context that gives its URL."""


@contextmanager
def databases(wanted: str) -> Iterator[list[tuple[str, NewDatabase]]]:
    found: list[tuple[str, NewDatabase]] = [("sqlite", sqlite_database)] if wanted != "postgresql" else []
    if wanted == "sqlite":
        yield found
        return
    with postgres_server() as server:
        yield [*found, ("postgresql", lambda _: server.database())]


@contextmanager
def sqlite_database(folder: Path) -> Iterator[str]:
    yield f"sqlite+aiosqlite:///{folder}/dayfly.db"


async def measure(options: argparse.Namespace, new_database: NewDatabase) -> Figures:
    """All parts on one kind of database, each on an empty database."""
    parts: dict[str, Callable[[argparse.Namespace, Path, str], Awaitable[Figures]]] = {
        "lives": lives,
        "claims": claimed,
        "bursts": burst,
        "listing": listed,
        "passes": passed,
    }
    figures: Figures = {}
    for name, part in parts.items():
        if options.part and name not in options.part:
            continue
        with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder, new_database(Path(folder)) as url:
            figures[f"{name}_load_before"] = os.getloadavg()[0]
            figures |= await part(options, Path(folder), url)
            print(f"{url.partition('+')[0]}: {name} is done", flush=True)
    return figures


async def lives(options: argparse.Namespace, folder: Path, url: str) -> Figures:
    with fleet(folder, url, workers=options.workers) as running:
        return {
            **await creation.one_by_one(running, options.alone),
            **await creation.at_once(running, options.clusters, options.callers),
            **await idle.at_rest(running, options.idle_seconds),
            **await creation.end_all(running, options.callers),
        }


async def claimed(options: argparse.Namespace, folder: Path, url: str) -> Figures:
    with fleet(folder, url, workers=options.workers) as running:
        return await claims.claims(running, options.claims, options.members)


async def burst(options: argparse.Namespace, folder: Path, url: str) -> Figures:
    with fleet(folder, url, workers=options.workers) as running:
        return await bursts.bursts(running, options.bursts, options.burst, options.copies)


async def listed(options: argparse.Namespace, folder: Path, url: str) -> Figures:
    store = await Store.open(url, KEYS)
    try:
        await listing.write(store, options.records)
    finally:
        await store.close()
    # Only an API: workers would see to these clusters.
    with fleet(folder, url, workers=0) as running:
        return await listing.pages(running, options.records, options.rounds)


async def passed(options: argparse.Namespace, folder: Path, url: str) -> Figures:
    store = await Store.open(url, KEYS)
    try:
        return await passes.costs(store, options.numbers, options.rounds, options.idle_seconds / 6)
    finally:
        await store.close()


def report(options: argparse.Namespace, columns: dict[str, Figures], failures: list[str]) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "load_after": os.getloadavg()[0],
        },
        "options": {name: str(value) for name, value in vars(options).items()},
        "aims": AIMS,
        "missed": failures,
        "figures": columns,
    }


if __name__ == "__main__":
    sys.exit(main())
