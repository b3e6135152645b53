"""What authentication, and all else around a query, costs: GET, list and POST beside bare routes with the same query.

    .venv/bin/python -m tests.bench.authentication --rounds 200 --json result.json

One API that requires authentication, and one process with bare routes (bare_api.py), on one PostgreSQL; the requests
take turns. Then the authorization of a request alone, in this process: its token, its role, and the principal's rate.
Prints p50, p99 and the processor's time of each; exit code 1 if a ratio or the p99 is above its aim (never with
--no-check).
`_ratio`: of the medians; `_cpu_ratio`: of the processes' own time, which other programs on the machine do not change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from dayfly.api.authentication import Authentication
from dayfly.api.clusters import routes
from dayfly.api.operations import authorize
from dayfly.api.principals import principal_of
from dayfly.api.rate_limits import RateLimits
from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.clock import SystemClock
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.security.principal import Role
from dayfly.store import Store
from tests.bench import records
from tests.bench.bare_api import TEAM
from tests.bench.figures import Figures, missed, spread, table
from tests.bench.fleet import Fleet, fleet
from tests.bench.lean_http import Answer, Connection, connected
from tests.bench.process import IMAGE
from tests.support.callers import new_callers
from tests.support.databases import migrated_postgresql
from tests.support.postgres import postgres_server
from tests.support.service import free_port

AIMS = {"_cpu_ratio": 1.5, "_ratio": 1.5, "authorization_p99_ms": 1.0}
"""End of a figure's name → the most that it may be."""
PAGE = 100
READY = 300
WAITING = 60
"""So many that the positions in the queue are not computed for each response."""
WARM_UP = 20


@dataclass
class Side:
    """One of the two processes. `seconds` and `cpu` of each kind of request."""

    http: Connection
    pid: int
    headers: Mapping[str, str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def send(self, kind: str, number: int) -> Answer:
        before = cpu_seconds(self.pid)
        if kind == "post":
            body = {"image": IMAGE, "labels": {"number": str(number)}}
            headers = {**self.headers, "Idempotency-Key": f"key-{number}-{self.pid}"}
            answer = await self.http.request("POST", "/v1/clusters", body, headers=headers, expect=202)
        else:
            path = f"/v1/clusters?phase=ready&limit={PAGE}" if kind == "list" else f"/v1/clusters/{number % READY:012x}"
            answer = await self.http.request("GET", path, headers=self.headers)
        self.seconds[kind].append(answer.seconds)
        self.cpu[kind].append(cpu_seconds(self.pid) - before)
        return answer


def cpu_seconds(pid: int) -> float:
    """The processor's time of all threads, in nanoseconds' precision."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


async def requests(running: Fleet, token: Mapping[str, str], rounds: int) -> Figures:
    ports = running.ports
    async with connected(ports["bare"]) as bare_http, connected(ports["api"]) as http:
        bare = Side(bare_http, running.processes["bare"].pid, {})
        api = Side(http, running.processes["api"].pid, token)
        for kind in ("get", "list"):
            require_same(await bare.send(kind, 1), await api.send(kind, 1))
        for number in range(WARM_UP + rounds):
            # Each goes first in turn.
            for side in (bare, api) if number % 2 else (api, bare):
                for kind in ("get", "list", "post"):
                    await side.send(kind, number)
    figures: Figures = {}
    for kind in ("get", "list", "post"):
        taken = {}
        for name, side in {f"{kind}_bare": bare, kind: api}.items():
            seconds, cpu = side.seconds[kind][-rounds:], side.cpu[kind][-rounds:]
            figures |= spread(name, seconds) | {f"{name}_cpu_ms": 1000 * median(cpu)}
            taken[name] = (median(seconds), median(cpu))
        figures[f"{kind}_ratio"] = taken[kind][0] / taken[f"{kind}_bare"][0]
        figures[f"{kind}_cpu_ratio"] = taken[kind][1] / taken[f"{kind}_bare"][1]
    return figures


def require_same(one: Answer, other: Answer) -> None:
    """Both sides do the same work only if they answer the same, but for a cursor's text."""
    bodies: list[dict[str, Any]] = [one.json(), other.json()]
    for body in bodies:
        if "next_cursor" in body:
            body["next_cursor"] = body["next_cursor"] is not None
    if bodies[0] != bodies[1]:
        raise RuntimeError(f"the bare route answers {bodies[0]}, the service {bodies[1]}")


async def authorization(store: Store, token: Mapping[str, str], rounds: int) -> Figures:
    """Of a request whose token was verified before, and of one whose token is looked up."""
    clock, rates = SystemClock(), RateLimits(10**9)
    (route,) = (
        one for one in routes.router.routes if isinstance(one, APIRoute) and one.operation_id == "createCluster"
    )
    headers = [(name.lower().encode(), value.encode()) for name, value in token.items()]

    async def once(authentication: Authentication) -> float:
        scope = {"type": "http", "method": "POST", "headers": headers, "route": route, "state": {}}
        began = time.perf_counter()
        await authentication.identify(scope)
        request = Request(scope)
        await authorize(request)
        await rates.count(principal_of(request).name, clock)
        return time.perf_counter() - began

    def new() -> tuple[TokenAuthenticator, Authentication]:
        authenticator = TokenAuthenticator(store, clock)
        return authenticator, Authentication(authenticators=(authenticator,))

    authenticator, remembering = new()
    taken = [await once(remembering) for _ in range(WARM_UP + rounds)][WARM_UP:]
    await authenticator.settle()
    looked_up = []
    for _ in range(WARM_UP + rounds // 100):
        authenticator, authentication = new()
        looked_up.append(await once(authentication))
        await authenticator.settle()
    return {**spread("authorization", taken), **spread("first_authorization", looked_up[WARM_UP:])}


async def measure(running: Fleet, rounds: int) -> Figures:
    url = running.environment["DAYFLY_DATABASE_URL"]
    (token,) = await new_callers(url, TEAM, [Role.USER])
    store = await Store.open(url)
    try:
        phases = [Phase.READY] * READY + [Phase.PENDING] * WAITING
        clusters = [replace(records.cluster(number, phase), owner=TEAM) for number, phase in enumerate(phases)]
        await records.write(store, clusters)
        figures = await requests(running, token, rounds)
        return {**figures, **await authorization(store, token, 50 * rounds)}
    finally:
        await store.close()


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    load: Callable[[], float] = lambda: os.getloadavg()[0]  # noqa: E731
    with (
        tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder,
        postgres_server() as server,
        migrated_postgresql(server) as url,
        fleet(Path(folder), url, workers=0, loopback_is_operator="false") as running,
    ):
        running.ports["bare"] = free_port()
        running.start("bare")
        before = load()
        columns = {"postgresql": asyncio.run(measure(running, options.rounds))}
    print(table(columns, AIMS))
    failures = missed(columns, AIMS)
    print("\n".join(failures) or "every aim is met")
    if options.json is not None:
        machine = {"cpus": os.cpu_count(), "load_before": before, "load_after": load()}
        at = datetime.now(UTC).isoformat(timespec="seconds")
        report = {"at": at, "machine": machine, "aims": AIMS, "missed": failures, "figures": columns}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failures and options.check else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind to each process")
    parser.add_argument("--no-check", dest="check", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
