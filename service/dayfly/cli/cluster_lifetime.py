"""`dayfly cluster extend | hold | unhold | heartbeat | diagnostics`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_output
from dayfly.cli.cluster_lookup import by_last_name
from dayfly.cli.emit import emit
from dayfly.cli.errors import checked_values
from dayfly.cli.formatting import format_time, parse_duration
from dayfly.cli.options import Json, Name, Output
from dayfly.cli.output_file import write_output
from dayfly.client import Client, ClientError, Heartbeat, HoldRequest
from dayfly.client.heartbeat import is_last
from dayfly.vocabulary import VmsUnderHold


def hold_request(seconds: float, reason: str | None, vms: VmsUnderHold | None) -> HoldRequest:
    """The request from the options."""
    why = reason or "held on the command line"
    with checked_values():
        return HoldRequest(seconds=round(seconds), reason=why, vms=vms or "running")


def extend(
    name: Name,
    ttl: Annotated[
        float,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="The total time to live since the cluster was first ready, not an addition: 2h, 1d.",
        ),
    ],
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Change a cluster's time to live."""
    with Client() as client:
        cluster = client.extend(name, round(ttl))
    emit(cluster, cluster_output.tenure(cluster), output, as_json)


def hold(
    name: Name,
    duration: Annotated[
        float, typer.Option("--for", parser=parse_duration, metavar="DURATION", help="From now: 30m, 2h, 1d.")
    ] = 3600.0,
    reason: Annotated[str | None, typer.Option(help="The reason, shown with the cluster.")] = None,
    vms: Annotated[
        VmsUnderHold | None, typer.Option(help="State of the VMs if the hold keeps a failed or expired cluster.")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Keep a failed or expired cluster for inspection, instead of its removal."""
    request = hold_request(duration, reason, vms)
    with Client() as client:
        cluster = client.change(name, hold=request)
    emit(cluster, cluster_output.tenure(cluster), output, as_json)


def unhold(name: Name, output: Output = None, as_json: Json = False) -> None:
    """Release a cluster's hold. A failed or expired cluster is cleaned up at once."""
    with Client() as client:
        cluster = client.release_hold(name)
    emit(cluster, cluster_output.tenure(cluster), output, as_json)


def heartbeat(
    name: Name,
    every: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Repeat in this interval until interrupted."),
    ] = None,
) -> None:
    """Send a heartbeat for a cluster that was created with --heartbeat."""
    if every is not None and every < 1:
        raise typer.BadParameter("--every: at least 1s")
    with Client() as client:
        beat = client.heartbeat(name)
        typer.echo(_sentence(name, beat))
        if every is not None and every >= beat.heartbeat_interval_seconds:
            raise typer.BadParameter(f"--every: less than the cluster's interval, {beat.heartbeat_interval_seconds} s")
        if every is not None:
            _repeat(client, name, every)


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
    typer.echo(f"written to {target}", err=True)


def _repeat(client: Client, name: str, seconds: float) -> None:
    """Send heartbeats until the cluster is deleted. An unreachable server may return before the cluster expires."""
    identity = client.get(name).id  # after the deletion, another cluster may take the name
    while True:
        time.sleep(seconds)
        try:
            typer.echo(_sentence(name, client.heartbeat(identity)))
        except ClientError as error:
            if is_last(error):
                raise
            typer.echo(f"heartbeat failed: {error}", err=True)


def _sentence(name: str, beat: Heartbeat) -> str:
    end = f" expires {format_time(beat.expires_at)}" if beat.expires_at else " does not expire"
    return f"{name}{end}; the next heartbeat is due within {beat.heartbeat_interval_seconds} s"
