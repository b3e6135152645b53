"""`dayfly cluster kubeconfig`, and the contexts that it adds to the user's kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import kubeconfig_file
from dayfly.cli.cluster_lookup import ready_hint
from dayfly.cli.errors import CommandError
from dayfly.cli.options import Name
from dayfly.cli.output_file import write_output
from dayfly.cli.terminal import say
from dayfly.client import Client, ClientError, Cluster, Unreachable


def kubeconfig(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the kubeconfig to this file; a new file has mode 0600.")
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Add the cluster to kubectl's own file as context dayfly-NAME, and remove such contexts of deleted "
            "clusters.",
        ),
    ] = False,
    switch: Annotated[
        bool, typer.Option("--switch/--no-switch", help="With --merge: make the context the current context.")
    ] = False,
) -> None:
    """Fetch a ready cluster's kubeconfig: to standard output, a file, or kubectl's own file."""
    if merge and output is not None:
        raise typer.BadParameter("give either --output or --merge")
    if switch and not merge:
        raise typer.BadParameter("--switch needs --merge")
    with Client() as client, ready_hint(client, name):
        if merge:
            cluster = client.get(name)
            text = client.kubeconfig(cluster.id)
            path, context = kubeconfig_file.user_kubeconfig(), kubeconfig_file.context_name(cluster.name)
            kubeconfig_file.merge_kubeconfig(path, text, context, cluster.id, switch=switch)
            use = "is the current context" if switch else f"was added: kubectl --context {context} …"
            say(f"{path}: context {context} {use}", err=True)
            _forget_deleted(client)
        elif output is not None:
            write_output(output, client.kubeconfig(name))
        else:
            say(client.kubeconfig(name), nl=False)


def forget_context(cluster: Cluster) -> None:
    """Remove a deleted cluster's context. The deletion succeeds without."""
    why = "its cluster is deleted" if cluster.phase == "deleted" else "its cluster is being deleted"
    try:
        for path in kubeconfig_file.remove_from_kubeconfigs(cluster.id):
            say(f"{path}: context {kubeconfig_file.context_name(cluster.name)} was removed: {why}", err=True)
    except CommandError as error:
        say(f"warning [{error.code}]: the kubeconfig keeps the cluster's context: {error.detail}", err=True)


def _forget_deleted(client: Client) -> None:
    """Remove the contexts of clusters that this server says are deleted: those that expired had no `cluster delete`."""
    try:
        merged = sorted(kubeconfig_file.merged_clusters())
    except CommandError as error:  # of another file in KUBECONFIG
        say(f"warning [{error.code}]: contexts of deleted clusters stay: {error.detail}", err=True)
        return
    for cluster_id in merged:
        try:
            cluster = client.get(cluster_id)
        except Unreachable:
            return  # the next --merge does it
        except ClientError:
            continue  # a cluster of another server
        if cluster.phase == "deleted":
            forget_context(cluster)
