"""`dayfly cluster create`, with an option for each field of a cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_lifetime, cluster_output, options
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import parse_labels, parse_port
from dayfly.cli.output_file import write_output
from dayfly.cli.progress.cluster import interrupted, watch
from dayfly.client import Client, Cluster
from dayfly.client.retries import REQUEST_SECONDS, Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.vocabulary import ClusterReadiness, Isolation, Restart, VmsUnderHold


def create(
    name: Annotated[str | None, typer.Argument(help="Default: the server generates a name.")] = None,
    *,
    image: options.Image,
    workers: options.Workers = 0,
    vcpus: options.Vcpus = None,
    memory_mib: options.MemoryMib = None,
    disk_gib: options.DiskGib = None,
    worker_vcpus: options.WorkerVcpus = None,
    worker_memory_mib: options.WorkerMemoryMib = None,
    worker_disk_gib: options.WorkerDiskGib = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    ttl: Annotated[float | None, options.duration("Time to live: deleted so long after it was first ready.")] = None,
    heartbeat: Annotated[
        float | None,
        options.duration("Heartbeat interval: deleted after so long without a heartbeat. Begins with the creation."),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The cluster's owner. The queue is fair between owners.")] = None,
    restart: Annotated[
        Restart | None, typer.Option(help="After an outage of the engine, the host or a VM: recover (always), or fail.")
    ] = None,
    isolation: Annotated[
        Isolation | None, typer.Option(help="strict: never a fork of a template, with a cluster CA of its own.")
    ] = None,
    idle: Annotated[float | None, options.duration("Hibernate after so long without traffic.")] = None,
    hold: Annotated[
        float | None, options.duration("Keep the cluster so long, from now, if it fails or expires.")
    ] = None,
    hold_reason: Annotated[str | None, typer.Option(help="The hold's reason, shown with the cluster.")] = None,
    hold_vms: Annotated[
        VmsUnderHold | None, typer.Option(help="State of the VMs if the hold keeps a failed or expired cluster.")
    ] = None,
    readiness: Annotated[
        ClusterReadiness | None,
        typer.Option(
            help="Condition for `ready`: a pod runs (usable), nodes are Ready (nodes), SSH answers (booted), "
            "conformance specs pass (conformance)."
        ),
    ] = None,
    conformance_spec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="A conformance spec's full name, or a regular expression. May be repeated; needs --readiness "
            "conformance. Default: the image's short list.",
        ),
    ] = None,
    publish: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=[NODE:|ADDRESS:]PORT",
            help="Publish a TCP port of a node, or of a Service's address, on the host. May be repeated.",
        ),
    ] = None,
    addon: options.Addons = None,
    wait: options.Wait = False,
    delete_on_interrupt: Annotated[
        bool, typer.Option("--delete-on-interrupt", help="Delete the cluster if the command is interrupted.")
    ] = False,
    timeout: options.Timeout = 1800.0,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Wait, and write the kubeconfig to this file; a new file has mode 0600."),
    ] = None,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a cluster."""
    if hold is None and (hold_reason or hold_vms):
        raise typer.BadParameter("--hold-reason and --hold-vms need --hold")
    key = idempotency_key or uuid.uuid4().hex
    with Client() as client:
        create = partial(
            client.create,
            name,
            idempotency_key=key,
            image=image,
            workers=workers,
            **options.sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib)),
            labels=parse_labels(label or []),
            ttl_seconds=None if ttl is None else round(ttl),
            readiness=readiness,
            owner=owner,
            heartbeat_interval_seconds=None if heartbeat is None else round(heartbeat),
            restart=restart,
            isolation=isolation,
            idle_seconds=None if idle is None else round(idle),
            ports=tuple(map(parse_port, publish or [])) or None,
            addons=addon or None,
            conformance=conformance_spec or None,
            hold=None if hold is None else cluster_lifetime.hold_request(hold, hold_reason, hold_vms),
        )
        cluster = _create(client, create, key, delete=delete_on_interrupt)
        if wait or kubeconfig is not None:
            try:
                cluster = watch(client, cluster, "ready", timeout)
                if kubeconfig is not None:
                    fetch = partial(client.kubeconfig, cluster.id)
                    write_output(kubeconfig, sync_retry(Backoff(REQUEST_SECONDS), fetch))
            except KeyboardInterrupt as error:
                raise (_delete(client, cluster) if delete_on_interrupt else interrupted(cluster)) from error
            except CommandError as error:
                if not (delete_on_interrupt and error.exit_code == ExitCode.INTERRUPTED):
                    raise
                raise _delete(client, cluster) from error
    emit(cluster, cluster_output.sentence(cluster), output, as_json)


def _create(client: Client, create: Callable[[], Cluster], key: str, *, delete: bool) -> Cluster:
    """Raises CommandError on Ctrl-C and SIGTERM: then the server may have received the request, or not."""
    try:
        return create()
    except KeyboardInterrupt as error:
        if delete:
            # With the same key the server returns the cluster that it may have created.
            raise _delete(client, create()) from error
        raise CommandError(
            "interrupted",
            "the cluster may have been created",
            f"the same command with --idempotency-key {key} returns it; dayfly cluster list shows it",
            exit_code=ExitCode.INTERRUPTED,
        ) from error


def _delete(client: Client, cluster: Cluster) -> CommandError:
    client.delete(cluster.id)
    return CommandError("interrupted", f"cluster {cluster.name} is being deleted", exit_code=ExitCode.INTERRUPTED)
