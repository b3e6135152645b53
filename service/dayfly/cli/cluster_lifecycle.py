"""`dayfly cluster reset | hibernate | resume | idle | checkpoint …`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from dayfly.cli import cluster_output, template_pool_output
from dayfly.cli.cluster_lookup import ready_hint
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError, ignored_not_found
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration
from dayfly.cli.options import IdempotencyKey, IgnoreNotFound, Json, Name, Output, Timeout, Wait, duration
from dayfly.cli.progress.cluster import watch
from dayfly.cli.progress.resource import wait_for
from dayfly.client import ApiError, Client, Cluster
from dayfly.client import Checkpoint as CheckpointValue
from dayfly.client.retries import Backoff
from dayfly.client.sync_connection import sync_retry

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
    idempotency_key: IdempotencyKey = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Reset a cluster to its first ready state, or to a checkpoint. Name, ports and kubeconfig stay."""
    with Client() as client, ready_hint(client, name):
        cluster = client.reset(name, checkpoint=to, idempotency_key=idempotency_key)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    emit(cluster, cluster_output.state(cluster), output, as_json)


def hibernate(
    name: Name, wait: Wait = False, timeout: Timeout = 600.0, output: Output = None, as_json: Json = False
) -> None:
    """Save a cluster's VMs to disk and stop them: the cluster takes no CPU and no memory until it is resumed."""
    with Client() as client, ready_hint(client, name):
        cluster = client.hibernate(name)
        if wait:
            cluster = watch(client, cluster, "hibernated", timeout)
    emit(cluster, cluster_output.state(cluster), output, as_json)


def resume(
    name: Name, wait: Wait = False, timeout: Timeout = 1800.0, output: Output = None, as_json: Json = False
) -> None:
    """Resume a hibernated cluster."""
    with Client() as client:
        cluster = client.resume(name)
        if wait:
            cluster = watch(client, cluster, "ready", timeout)
    emit(cluster, cluster_output.state(cluster), output, as_json)


def idle(
    name: Name,
    after: Annotated[float | None, duration("Time without traffic through its ports: 30m, 2h.")] = None,
    never: Annotated[bool, typer.Option("--never", help="Hibernate only on request.")] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Set the time without traffic after which a cluster hibernates. The time counts from now."""
    if (after is None) != never:
        raise typer.BadParameter("give either --after or --never")
    with Client() as client:
        cluster = client.change(name, idle_seconds=None if after is None else round(after))
    emit(cluster, cluster_output.idleness(cluster), output, as_json)


@checkpoints.command("create")
def create_checkpoint(
    name: Name,
    checkpoint: Checkpoint,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    idempotency_key: IdempotencyKey = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Take a checkpoint of a ready cluster."""
    with Client() as client, ready_hint(client, name):
        if not wait:
            made = client.create_checkpoint(name, checkpoint, idempotency_key=idempotency_key)
        else:
            # By its id: another cluster may take the name meanwhile.
            cluster = sync_retry(Backoff(timeout), partial(client.get, name))
            made = client.create_checkpoint(cluster.id, checkpoint, idempotency_key=idempotency_key)
            with client.heartbeats_while_waiting(cluster):
                made = wait_for(
                    partial(_checkpoint, client, cluster.id, checkpoint),
                    lambda one: one.phase == "ready",
                    template_pool_output.snapshot_progress,
                    f"checkpoint {checkpoint}",
                    timeout,
                    if_interrupted=(
                        f"checkpoint {checkpoint} is being created; it lives as long as cluster {cluster.name}, which "
                        f"{_lifetime(cluster)}",
                        f"dayfly cluster checkpoint delete {cluster.name} {checkpoint}",
                    ),
                )
    emit(made, template_pool_output.checkpoint_sentence(made), output, as_json)


@checkpoints.command("list")
def list_checkpoints(name: Name, output: Output = None, as_json: Json = False) -> None:
    """List a cluster's checkpoints, oldest first."""
    with Client() as client:
        found = client.checkpoints(name)
    emit(found, template_pool_output.checkpoints(found), output, as_json)


@checkpoints.command("delete")
def delete_checkpoint(
    name: Name,
    checkpoint: Checkpoint,
    ignore_not_found: IgnoreNotFound = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Delete a checkpoint of a cluster."""
    with Client() as client, ignored_not_found(ignore_not_found):
        deleted = client.delete_checkpoint(name, checkpoint)
    emit(deleted, f"checkpoint {deleted.name} is being deleted", output, as_json)


def _lifetime(cluster: Cluster) -> str:
    """As cluster_output.lifetime(), and true after heartbeats have moved the expiry."""
    interval = cluster.heartbeat_interval_seconds
    if interval is None or cluster.expires_because != "heartbeat":
        return cluster_output.lifetime(cluster)
    return f"expires {format_duration(interval)} after its last heartbeat"


def _checkpoint(client: Client, cluster: str, name: str) -> CheckpointValue:
    """The checkpoint. One that failed leaves no record: raises CommandError."""
    try:
        return client.checkpoint(cluster, name)
    except ApiError as error:
        if error.code != "not_found":
            raise
        raise CommandError(
            "checkpoint_failed",
            f"checkpoint {name} failed or was deleted",
            f"dayfly cluster events {cluster}",
            exit_code=ExitCode.FAILED,
        ) from error
