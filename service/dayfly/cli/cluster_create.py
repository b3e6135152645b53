"""`dayfly cluster create`, with an option for each field of a cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_lifetime, cluster_output
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import parse_duration, parse_labels
from dayfly.cli.options import (
    DiskGib,
    Image,
    Json,
    MemoryMib,
    Output,
    Timeout,
    Vcpus,
    Wait,
    WorkerDiskGib,
    WorkerMemoryMib,
    Workers,
    WorkerVcpus,
    sizes,
)
from dayfly.cli.output_file import write_output
from dayfly.cli.progress.cluster import watch
from dayfly.client import Client, Cluster
from dayfly.client.retries import REQUEST_SECONDS, Backoff, sync_retry
from dayfly.vocabulary import Isolation, Readiness, Restart, VmsUnderHold


def create(
    name: Annotated[str | None, typer.Argument(help="Default: the server generates a name.")] = None,
    *,
    image: Image,
    workers: Workers = 0,
    vcpus: Vcpus = None,
    memory_mib: MemoryMib = None,
    disk_gib: DiskGib = None,
    worker_vcpus: WorkerVcpus = None,
    worker_memory_mib: WorkerMemoryMib = None,
    worker_disk_gib: WorkerDiskGib = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration, metavar="DURATION", help="Time to live: deleted so long after it was first ready."
        ),
    ] = None,
    heartbeat: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="Heartbeat interval: deleted after so long without a heartbeat. Begins with the creation.",
        ),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The cluster's owner. The queue is fair between owners.")] = None,
    restart: Annotated[
        Restart | None, typer.Option(help="After an outage of the engine, the host or a VM: recover (always), or fail.")
    ] = None,
    isolation: Annotated[
        Isolation | None, typer.Option(help="strict: never a fork of a template, with a cluster CA of its own.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Hibernate after so long without traffic."),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="Keep the cluster so long, from now, if it fails or expires.",
        ),
    ] = None,
    hold_reason: Annotated[str | None, typer.Option(help="The hold's reason, shown with the cluster.")] = None,
    hold_vms: Annotated[
        VmsUnderHold | None, typer.Option(help="State of the VMs if the hold keeps a failed or expired cluster.")
    ] = None,
    readiness: Annotated[
        Readiness | None,
        typer.Option(help="Condition for `ready`: a pod runs (usable), nodes are Ready (nodes), SSH answers (booted)."),
    ] = None,
    wait: Wait = False,
    delete_on_interrupt: Annotated[
        bool, typer.Option("--delete-on-interrupt", help="Delete the cluster if the wait is interrupted.")
    ] = False,
    timeout: Timeout = 1800.0,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Wait, and write the kubeconfig to this file; a new file has mode 0600."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="A repeated command with the same key and options returns the same cluster. Default: new.",
        ),
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Create a cluster."""
    if hold is None and (hold_reason or hold_vms):
        raise typer.BadParameter("--hold-reason and --hold-vms need --hold")
    control_plane, worker = sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib))
    with Client() as client:
        cluster = client.create(
            name,
            idempotency_key=idempotency_key,
            image=image,
            workers=workers,
            control_plane=control_plane,
            worker=worker,
            labels=parse_labels(label or []),
            ttl_seconds=None if ttl is None else round(ttl),
            readiness=readiness,
            owner=owner,
            heartbeat_interval_seconds=None if heartbeat is None else round(heartbeat),
            restart=restart,
            isolation=isolation,
            idle_seconds=None if idle is None else round(idle),
            hold=None if hold is None else cluster_lifetime.hold_request(hold, hold_reason, hold_vms),
        )
        if wait or kubeconfig is not None:
            cluster = _watch(client, cluster, timeout, delete=delete_on_interrupt)
        if kubeconfig is not None:
            fetch = partial(client.kubeconfig, cluster.id)
            write_output(kubeconfig, sync_retry(Backoff(REQUEST_SECONDS), fetch))
    emit(cluster, cluster_output.sentence(cluster), output, as_json)


def _watch(client: Client, cluster: Cluster, timeout_seconds: float, *, delete: bool) -> Cluster:
    try:
        return watch(client, cluster, "ready", timeout_seconds)
    except CommandError as error:
        if not (delete and error.exit_code == ExitCode.INTERRUPTED):
            raise
        client.delete(cluster.id)
        detail = f"cluster {cluster.name} is being deleted"
        raise CommandError("interrupted", detail, exit_code=ExitCode.INTERRUPTED) from error
