"""`dayfly cluster extend | hold | unhold | heartbeat | diagnostics`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_output
from dayfly.cli.cluster_lookup import by_last_name
from dayfly.cli.emit import emit, emit_each
from dayfly.cli.errors import checked_values
from dayfly.cli.formatting import format_time
from dayfly.cli.options import Json, Name, Output, duration
from dayfly.cli.output_file import write_output
from dayfly.cli.terminal import say
from dayfly.client import Client, ClientError, Heartbeat, HoldRequest, InvalidArgument
from dayfly.client.heartbeat import is_last
from dayfly.client.retries import REQUEST_SECONDS, Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.vocabulary import VmsUnderHold


def hold_request(seconds: float, reason: str | None, vms: VmsUnderHold | None) -> HoldRequest:
    why = reason or "held on the command line"
    with checked_values():
        return HoldRequest(seconds=round(seconds), reason=why, vms=vms or "running")


def extend(
    name: Name,
    ttl: Annotated[
        float, duration("The total time to live since the cluster was first ready, not an addition: 2h, 1d.")
    ],
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Change a cluster's time to live."""
    with Client() as client:
        cluster = client.extend(name, round(ttl))
    emit(cluster, cluster_output.ttl_sentence(cluster), output, as_json)


def hold(
    name: Name,
    seconds: Annotated[float, duration("From now: 30m, 2h, 1d.", "--for")] = 3600.0,
    reason: Annotated[str | None, typer.Option(help="The reason, shown with the cluster.")] = None,
    vms: Annotated[
        VmsUnderHold | None, typer.Option(help="State of the VMs if the hold keeps a failed or expired cluster.")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Keep a failed or expired cluster for inspection, instead of its removal."""
    request = hold_request(seconds, reason, vms)
    with Client() as client:
        cluster = client.change(name, hold=request)
    emit(cluster, cluster_output.ttl_sentence(cluster), output, as_json)


def unhold(name: Name, output: Output = None, as_json: Json = False) -> None:
    """Release a cluster's hold. A failed or expired cluster is cleaned up at once."""
    with Client() as client:
        cluster = client.release_hold(name)
    emit(cluster, cluster_output.ttl_sentence(cluster), output, as_json)


def heartbeat(
    name: Name,
    every: Annotated[float | None, duration("Repeat in this interval until interrupted.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Send a heartbeat for a cluster created with --heartbeat. With --every, JSON is an object on each line."""
    if every is not None and every < 1:
        raise typer.BadParameter("--every: at least 1s")
    with Client() as client:
        if every is None:
            beat = client.heartbeat(name)
            emit({"name": name, **dict(beat)}, _sentence(name, beat), output, as_json)
            return
        for beat in _repeat(client, name, every):
            emit_each({"name": name, **dict(beat)}, _sentence(name, beat), output, as_json)
            if every >= (interval := beat.heartbeat_interval_seconds):
                raise typer.BadParameter(f"--every: less than the cluster's interval, {interval} s")


def diagnostics(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. Default: ./NAME-diagnostics.tar.gz, mode 0600.")
    ] = None,
) -> None:
    """Fetch all diagnostics of a cluster as a tarball; of a deleted cluster by its id or last name.

    In the tarball: consoles, logs and events; of Kubernetes, the nodes, the pods with their reasons and restarts, the
    events, a description of each pod that is not Ready, and the logs of containers that failed.
    """
    target = output or Path(f"{name}-diagnostics.tar.gz")
    with Client() as client:
        write_output(target, by_last_name(client, name, client.diagnostics))
    say(f"written to {target}", err=True)


def _repeat(client: Client, name: str, seconds: float) -> Iterator[Heartbeat]:
    """Send heartbeats until the cluster is deleted. An unreachable server may return before the cluster expires."""
    identity: str | None = None
    while True:
        try:
            yield client.heartbeat(identity or name)
            if identity is None:  # after the deletion, another cluster may take the name
                identity = sync_retry(Backoff(min(REQUEST_SECONDS, seconds)), partial(client.get, name)).id
        except ClientError as error:
            if is_last(error) or isinstance(error, InvalidArgument):
                raise
            say(f"heartbeat failed: {error}", err=True)
        time.sleep(seconds)


def _sentence(name: str, beat: Heartbeat) -> str:
    end = f" expires {format_time(beat.expires_at)}" if beat.expires_at else " does not expire"
    return f"{name}{end}; the next heartbeat is due within {beat.heartbeat_interval_seconds} s"
