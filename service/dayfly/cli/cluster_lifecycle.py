"""`dayfly cluster reset | hibernate | resume | idle | checkpoint …`."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli import cluster_output, template_pool_output
from dayfly.cli.formatting import parse_duration
from dayfly.cli.options import Json, Name, Timeout, Wait
from dayfly.cli.progress.cluster import watch
from dayfly.client import Client

checkpoints = typer.Typer(
    no_args_is_help=True, help="Create, list and delete checkpoints of a cluster.", add_completion=False
)

Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's name.")]


def reset(
    name: Name,
    to: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Default: the state when the cluster was first ready.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    as_json: Json = False,
) -> None:
    """Reset a cluster to its first ready state, or to a checkpoint. Name, ports and kubeconfig stay."""
    with Client() as client:
        cluster = client.reset(name, checkpoint=to)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def hibernate(name: Name, wait: Wait = False, timeout: Timeout = 600.0, as_json: Json = False) -> None:
    """Save a cluster's VMs to disk and stop them: the cluster takes no CPU and no memory until it is resumed."""
    with Client() as client:
        cluster = client.hibernate(name)
        if wait:
            cluster = watch(client, cluster, "hibernated", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def resume(name: Name, wait: Wait = False, timeout: Timeout = 1800.0, as_json: Json = False) -> None:
    """Resume a hibernated cluster."""
    with Client() as client:
        cluster = client.resume(name)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def idle(
    name: Name,
    after: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration, metavar="DURATION", help="Time without traffic through its ports: 30m, 2h."
        ),
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="Hibernate only on request.")] = False,
    as_json: Json = False,
) -> None:
    """Set the time without traffic after which a cluster hibernates. The time counts from now."""
    if (after is None) != never:
        raise typer.BadParameter("give either --after or --never")
    with Client() as client:
        cluster = client.change(name, idle_seconds=None if after is None else round(after))
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.idleness(cluster))


@checkpoints.command("create")
def create_checkpoint(name: Name, checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Take a checkpoint of a ready cluster."""
    with Client() as client:
        made = client.create_checkpoint(name, checkpoint)
    typer.echo(template_pool_output.as_json(made) if as_json else f"{made.name} is {made.phase}")


@checkpoints.command("list")
def list_checkpoints(name: Name, as_json: Json = False) -> None:
    """List a cluster's checkpoints, oldest first."""
    with Client() as client:
        found = client.checkpoints(name)
    typer.echo(template_pool_output.as_json(found) if as_json else template_pool_output.checkpoints(found))


@checkpoints.command("delete")
def delete_checkpoint(name: Name, checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Delete a checkpoint of a cluster."""
    with Client() as client:
        deleted = client.delete_checkpoint(name, checkpoint)
    typer.echo(template_pool_output.as_json(deleted) if as_json else f"{deleted.name} is being deleted")
