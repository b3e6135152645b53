"""Progress of a cluster: which step, which node, how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from rich.console import Group
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dayfly.cli.cluster_output import lifetime, phase, state
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration, printable_line
from dayfly.cli.progress.live import Console, LiveView, draws
from dayfly.client import Client, Cluster, Event, WaitTimeout
from dayfly.client.retries import Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.client.waiting import longest_hold, require_reached
from dayfly.schemas.clusters import is_paused, wait_is_over
from dayfly.vocabulary import WaitFor

_ASK_AGAIN_SECONDS: Final = 20.0
_STYLES: Final = {"done": "green", "failed": "red", "running": "cyan", "waiting": "yellow"}


def watch(client: Client, cluster: Cluster, wanted: WaitFor, timeout_seconds: float) -> Cluster:
    """Show the progress on standard error until the cluster is in the state `wanted`. Raises WaitTimeout.

    Raises ClusterFailed if the cluster can no longer become ready, or hibernated; CommandError on Ctrl-C and SIGTERM.
    """
    if not wait_is_over(cluster, wanted):
        view = ClusterView(Console(stderr=True), cluster)
        try:
            with client.heartbeats_while_waiting(cluster):
                _follow(client, view, wanted, timeout_seconds)
        except KeyboardInterrupt as error:
            # Heartbeats have moved its expiry since the wait began.
            raise interrupted(view.cluster) from error
        cluster = view.cluster
    require_reached(cluster, wanted)
    return cluster


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


def _follow(client: Client, view: ClusterView, wanted: WaitFor, timeout_seconds: float) -> None:
    """Goes on through outages of the server."""
    backoff = Backoff(timeout_seconds)
    cluster, last = view.cluster, 0
    look = partial(client.get, cluster.id)
    if wanted == "deleted" or cluster.ready_at is not None:
        # Past events are shown only while the cluster is first provisioned.
        past = sync_retry(backoff, partial(client.all_events, cluster.id))
        last = past[-1].id if past else 0
        view.since = cluster.updated_at  # of the request
        cluster = sync_retry(backoff, look)  # one of the skipped events may have been the last
    with view:
        while True:
            view.show(cluster)
            over, remaining = wait_is_over(cluster, wanted), backoff.remaining
            if not over and remaining <= 0:
                raise WaitTimeout(cluster, wanted, timeout_seconds)
            hold_seconds = 0.0 if over else min(remaining, _ASK_AGAIN_SECONDS, longest_hold(cluster))
            # The end of a pause is no event: the server holds the look instead.
            paused = is_paused(cluster)
            news_seconds = 0.0 if paused else hold_seconds
            news = sync_retry(backoff, partial(client.events, cluster.id, after=last, wait_seconds=news_seconds))
            for event in news.events:
                view.show_event(event)
            if over:
                return
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


class ClusterView(LiveView):
    """A live table of all steps, whose times advance between responses; without a terminal a line for each event."""

    def __init__(self, console: Console, cluster: Cluster, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self.cluster = cluster
        self.since = cluster.created_at
        """From when on the lines of events count the seconds."""
        self._monotonic = monotonic
        self._seen = self._began = monotonic()
        self._news = ""
        self._spinner = Spinner("dots")

    def show(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._seen = self._monotonic()

    def show_event(self, event: Event) -> None:
        self._news = printable_line(event.message)
        if not draws(self.console):
            self.console.print(format_event(event, self.since), soft_wrap=True)

    def render(self) -> Group:
        now = self._monotonic()
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("NODE", "STEP", "STATE", "TIME", "DETAIL"):
            table.add_column(column, no_wrap=column != "DETAIL")
        for step in self.cluster.steps:
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
        self._spinner.update(text=Text(f"{self.cluster.name}: {phase(self.cluster)}, {waited}  {self._news}"))
        return Group(table, self._spinner) if self.cluster.steps else Group(self._spinner)
