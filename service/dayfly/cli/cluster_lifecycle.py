"""`dayfly cluster reset | hibernate | resume | idle | checkpoint …`."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli import cluster_output, template_pool_output
from dayfly.cli.formatting import parse_duration
from dayfly.cli.options import Json, Name, Timeout, Wait
from dayfly.cli.progress.cluster import watch
from dayfly.client import Client

checkpoints = typer.Typer(no_args_is_help=True, help="Keep states of a cluster, to be reset to.", add_completion=False)

Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's name.")]


def reset(
    name: Name,
    to: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Without it: the state of the first `ready`.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    as_json: Json = False,
) -> None:
    """Bring a cluster back to how it was; name, ports and kubeconfig stay, what is in its machines goes."""
    with Client() as client:
        cluster = client.reset(name, checkpoint=to)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def hibernate(name: Name, wait: Wait = False, timeout: Timeout = 600.0, as_json: Json = False) -> None:
    """Put a cluster's machines on the disk: it takes no CPU and no memory until it is resumed."""
    with Client() as client:
        cluster = client.hibernate(name)
        if wait:
            cluster = watch(client, cluster, "hibernated", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def resume(name: Name, wait: Wait = False, timeout: Timeout = 1800.0, as_json: Json = False) -> None:
    """Let a hibernated cluster go on where it was."""
    with Client() as client:
        cluster = client.resume(name)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.state(cluster))


def idle(
    name: Name,
    after: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Without traffic through its ports: 30m, 2h."),
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="It runs until it is hibernated on request.")] = False,
    as_json: Json = False,
) -> None:
    """Say after what time without traffic a cluster is hibernated by itself; it counts from now on."""
    if (after is None) != never:
        raise typer.BadParameter("either --after or --never")
    with Client() as client:
        cluster = client.change(name, idle_seconds=None if after is None else round(after))
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.idleness(cluster))


@checkpoints.command("create")
def create_checkpoint(name: Name, checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Keep a cluster's present state under a name."""
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
    """Delete one of a cluster's checkpoints."""
    with Client() as client:
        deleted = client.delete_checkpoint(name, checkpoint)
    typer.echo(template_pool_output.as_json(deleted) if as_json else f"{deleted.name} is being deleted")
