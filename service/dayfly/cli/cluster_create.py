"""`dayfly cluster create`, with an option for each field of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_lifetime, cluster_output
from dayfly.cli.formatting import parse_duration, parse_labels
from dayfly.cli.options import (
    DiskGib,
    Image,
    Json,
    MemoryMib,
    Timeout,
    Vcpus,
    Wait,
    WorkerDiskGib,
    WorkerMemoryMib,
    Workers,
    WorkerVcpus,
    sizes,
)
from dayfly.cli.private_files import write_private
from dayfly.cli.progress.cluster import watch
from dayfly.client import Client
from dayfly.vocabulary import Isolation, Readiness, Restart, VmsUnderHold


def create(
    name: Annotated[str | None, typer.Argument(help="Left out: the server makes one.")] = None,
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
            parser=parse_duration, metavar="DURATION", help="Delete it by itself so long after it was first ready."
        ),
    ] = None,
    heartbeat: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="Delete it by itself when no heartbeat came for so long, from its creation on.",
        ),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Whose it is; the queue is fair between owners.")] = None,
    restart: Annotated[
        Restart | None, typer.Option(help="After the engine, the host or a machine went down: bring it back, or fail.")
    ] = None,
    isolation: Annotated[
        Isolation | None, typer.Option(help="strict: never a fork of a template, so that its cluster CA is its own.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Hibernate it after so long without traffic."),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration, metavar="DURATION", help="From now: keep it so long should it fail or expire."
        ),
    ] = None,
    hold_reason: Annotated[str | None, typer.Option(help="The reason, shown with the cluster.")] = None,
    hold_vms: Annotated[VmsUnderHold | None, typer.Option(help="What becomes of a held one's machines.")] = None,
    readiness: Annotated[Readiness | None, typer.Option(help="What `ready` has to mean.")] = None,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Wait, and write the kubeconfig there, mode 0600.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a cluster."""
    if hold is None and (hold_reason or hold_vms):
        raise typer.BadParameter("--hold-reason and --hold-vms need --hold")
    control_plane, worker = sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib))
    with Client() as client:
        cluster = client.create(
            name,
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
            cluster = watch(client, cluster, "ready", timeout)
        if kubeconfig is not None:
            write_private(kubeconfig, client.kubeconfig(cluster.id))
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.sentence(cluster))
