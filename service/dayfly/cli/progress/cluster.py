"""Progress of a cluster: which step, which node, how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dayfly.cli.cluster_output import lifetime, phase, state
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration, printable_line
from dayfly.cli.progress.live import Console, draws
from dayfly.client import Client, Cluster, ClusterFailed, Event, WaitTimeout
from dayfly.client.retries import Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.client.waiting import longest_hold
from dayfly.schemas.clusters import is_paused, wait_is_over
from dayfly.vocabulary import WaitFor

_ASK_AGAIN_SECONDS: Final = 20.0
_STYLES: Final = {"done": "green", "failed": "red", "running": "cyan", "waiting": "yellow"}


class _Display(Protocol):
    def event(self, event: Event) -> None: ...

    def cluster(self, cluster: Cluster) -> None: ...


def watch(client: Client, cluster: Cluster, wanted: WaitFor, timeout_seconds: float) -> Cluster:
    """Show the progress on standard error until the cluster is in the state `wanted`. Raises WaitTimeout.

    Raises ClusterFailed if the cluster can no longer become ready, or hibernated; CommandError on Ctrl-C and SIGTERM.
    """
    last_seen = cluster

    def see(now: Cluster) -> None:
        nonlocal last_seen
        last_seen = now

    try:
        return _watch(client, cluster, wanted, timeout_seconds, see)
    except KeyboardInterrupt as error:
        # Heartbeats have moved its expiry since the wait began.
        raise interrupted(last_seen) from error


def interrupted(cluster: Cluster) -> CommandError:
    """The error of an interrupted wait: what becomes of the cluster, how long it lives, and how to delete it."""
    if cluster.desired == "absent":
        return CommandError("interrupted", f"cluster {state(cluster)}", exit_code=ExitCode.INTERRUPTED)
    return CommandError(
        "interrupted",
        f"cluster {state(cluster)}; it {lifetime(cluster)}",
        f"dayfly cluster delete {cluster.name}",
        exit_code=ExitCode.INTERRUPTED,
    )


def _watch(
    client: Client, cluster: Cluster, wanted: WaitFor, timeout_seconds: float, see: Callable[[Cluster], None]
) -> Cluster:
    if not wait_is_over(cluster, wanted):
        with client.heartbeats_while_waiting(cluster):
            cluster = _follow(client, cluster, wanted, timeout_seconds, see)
    if wanted == "ready" and (cluster.phase != "ready" or cluster.desired != "present"):
        raise ClusterFailed(cluster)
    if wanted == "hibernated" and (cluster.phase != "hibernated" or cluster.desired != "hibernated"):
        raise ClusterFailed(cluster)
    return cluster


def _follow(
    client: Client, cluster: Cluster, wanted: WaitFor, timeout_seconds: float, see: Callable[[Cluster], None]
) -> Cluster:
    """Goes on through outages of the server. `see` is given each look."""
    backoff = Backoff(timeout_seconds)
    look = partial(client.get, cluster.id)
    last, since = 0, cluster.created_at
    if wanted == "deleted" or cluster.ready_at is not None:
        # Past events are shown only while the cluster is first provisioned.
        past = sync_retry(backoff, partial(client.all_events, cluster.id))
        last = past[-1].id if past else 0
        since = cluster.updated_at  # of the request
        cluster = sync_retry(backoff, look)  # one of the skipped events may have been the last
    with _display(cluster, since) as display:
        while True:
            see(cluster)
            display.cluster(cluster)
            over, remaining = wait_is_over(cluster, wanted), backoff.remaining
            if not over and remaining <= 0:
                raise WaitTimeout(cluster, wanted, timeout_seconds)
            hold_seconds = 0.0 if over else min(remaining, _ASK_AGAIN_SECONDS, longest_hold(cluster))
            # The end of a pause is no event: the server holds the look instead.
            paused = is_paused(cluster)
            news_seconds = 0.0 if paused else hold_seconds
            news = sync_retry(backoff, partial(client.events, cluster.id, after=last, wait_seconds=news_seconds))
            for event in news.events:
                display.event(event)
            if over:
                return cluster
            last = news.next_after
            held = partial(client.get, cluster.id, wait=wanted, timeout_seconds=hold_seconds)
            cluster = sync_retry(backoff, held if paused else look)


def format_event(event: Event, since: datetime) -> str:
    """One line: seconds since `since`, node, step, message, duration."""
    elapsed = (event.at - since).total_seconds()
    where = " ".join(part for part in (event.node, event.step) if part)
    took = f" ({format_duration(event.seconds)})" if event.seconds is not None else ""
    code = f" [{event.code}]" if event.code else ""
    return f"[{elapsed:8.1f}s] {where + ': ' if where else ''}{printable_line(event.message)}{code}{took}"


@contextmanager
def _display(cluster: Cluster, since: datetime) -> Iterator[_Display]:
    console = Console(stderr=True)
    if not draws(console):
        yield _Lines(console, since)
        return
    picture = _Picture(cluster)
    with Live(console=console, get_renderable=picture.render, refresh_per_second=4):
        yield picture


class _Lines:
    """One plain line for each event."""

    def __init__(self, console: Console, since: datetime) -> None:
        self._console = console
        self._since = since

    def event(self, event: Event) -> None:
        line = format_event(event, self._since)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def cluster(self, cluster: Cluster) -> None:
        """Events say it all."""


class _Picture:
    """A live table of all steps, whose times advance between the server's responses."""

    def __init__(self, cluster: Cluster, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._seen = self._began = monotonic()
        self._news = ""
        self._spinner = Spinner("dots")

    def event(self, event: Event) -> None:
        self._news = printable_line(event.message)

    def cluster(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen = self._monotonic()

    def render(self) -> Group:
        now = self._monotonic()
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("NODE", "STEP", "STATE", "TIME", "DETAIL"):
            table.add_column(column, no_wrap=column != "DETAIL")
        for step in self._cluster.steps:
            going_on = step.finished_at is None
            seconds = step.seconds + (now - self._seen if going_on else 0.0)
            state = step.state if step.attempt == 1 else f"{step.state}, attempt {step.attempt}"
            table.add_row(
                step.node or "-",
                step.name,
                Text(state, style=_STYLES.get(step.state, "")),
                format_duration(seconds),
                Text(printable_line(step.detail or "")),
            )
        waited = format_duration(now - self._began)
        self._spinner.update(text=Text(f"{self._cluster.name}: {phase(self._cluster)}, {waited}  {self._news}"))
        return Group(table, self._spinner) if self._cluster.steps else Group(self._spinner)
