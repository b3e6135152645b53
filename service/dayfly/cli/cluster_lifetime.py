"""`dayfly cluster extend | hold | unhold | heartbeat | diagnostics`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_output
from dayfly.cli.errors import checked_values
from dayfly.cli.formatting import format_time, parse_duration
from dayfly.cli.options import Json, Name
from dayfly.cli.private_files import write_private
from dayfly.client import Client, ClientError, Heartbeat, HoldRequest
from dayfly.client.heartbeat import is_last
from dayfly.vocabulary import VmsUnderHold


def hold_request(seconds: float, reason: str | None, vms: VmsUnderHold | None) -> HoldRequest:
    """A hold as the options say it."""
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
            help="The whole time to live, from when it was first ready: 2h means two hours in all, however often said.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Let a cluster live longer, or shorter."""
    with Client() as client:
        cluster = client.extend(name, round(ttl))
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.tenure(cluster))


def hold(
    name: Name,
    duration: Annotated[
        float, typer.Option("--for", parser=parse_duration, metavar="DURATION", help="From now: 30m, 2h, 1d.")
    ] = 3600.0,
    reason: Annotated[str | None, typer.Option(help="The reason, shown with the cluster.")] = None,
    vms: Annotated[
        VmsUnderHold | None, typer.Option(help="Of a cluster that failed or expired: what becomes of its machines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a cluster that failed, or whose time will be over, for somebody to look at."""
    wanted = hold_request(duration, reason, vms)
    with Client() as client:
        cluster = client.change(name, hold=wanted)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.tenure(cluster))


def unhold(name: Name, as_json: Json = False) -> None:
    """Hold a cluster no longer: one that failed or expired is cleared at once."""
    with Client() as client:
        cluster = client.release_hold(name)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.tenure(cluster))


def heartbeat(
    name: Name,
    every: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Go on, one each time, until interrupted."),
    ] = None,
) -> None:
    """Say that a cluster made with --heartbeat is still needed."""
    if every is not None and every < 1:
        raise typer.BadParameter("--every: at least 1s")
    with Client() as client:
        typer.echo(_told(name, client.heartbeat(name)))
        if every is not None:
            _go_on(client, name, every)


def diagnostics(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to, mode 0600; else NAME-diagnostics.tar.gz here.")
    ] = None,
) -> None:
    """Fetch everything there is to know of a cluster, as one tarball; also of a deleted one, by its id."""
    target = output or Path(f"{name}-diagnostics.tar.gz")
    with Client() as client:
        write_private(target, client.diagnostics(name))
    typer.echo(f"written to {target}")


def _go_on(client: Client, name: str, seconds: float) -> None:
    """Until the cluster is gone. A server that does not answer for a while may be back before the cluster expires."""
    identity = client.get(name).id  # the name is free for another's cluster once this one is gone
    while True:
        time.sleep(seconds)
        try:
            typer.echo(_told(name, client.heartbeat(identity)))
        except ClientError as error:
            if is_last(error):
                raise
            typer.echo(f"no heartbeat: {error}", err=True)


def _told(name: str, beat: Heartbeat) -> str:
    end = f" expires {format_time(beat.expires_at)}" if beat.expires_at else " does not expire"
    return f"{name}{end}; the next heartbeat is due within {beat.heartbeat_interval_seconds} s"
