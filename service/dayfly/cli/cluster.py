"""`dayfly cluster …`: everything about clusters, over HTTP. Not here: output (cluster_output.py)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer
import typer.core

from dayfly.cli import cluster_output
from dayfly.cli.cluster_create import create
from dayfly.cli.cluster_kubeconfig import forget_context, kubeconfig
from dayfly.cli.cluster_lifecycle import checkpoints, hibernate, idle, reset, resume
from dayfly.cli.cluster_lifetime import diagnostics, extend, heartbeat, hold, unhold
from dayfly.cli.cluster_lookup import by_last_name, ready_hint
from dayfly.cli.cluster_ssh import run_ssh
from dayfly.cli.emit import emit, emit_each
from dayfly.cli.errors import CommandError, ignored_not_found
from dayfly.cli.formatting import parse_labels
from dayfly.cli.options import IgnoreNotFound, Json, Name, Output, Timeout, Wait
from dayfly.cli.progress.cluster import format_event, watch
from dayfly.cli.terminal import pass_on
from dayfly.client import Client
from dayfly.client.retries import REQUEST_SECONDS, Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.vocabulary import WaitFor

app = typer.Typer(no_args_is_help=True, help="Create, show, use and delete clusters.", add_completion=False)
app.command()(create)


@app.command("list")
def list_clusters(
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Clusters with this label. May be repeated.")
    ] = None,
    phase: Annotated[
        list[str] | None, typer.Option(help="Clusters in this phase. Default: all but `deleted`. May be repeated.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Clusters of this owner.")] = None,
    purpose: Annotated[
        list[str] | None,
        typer.Option(help="cluster (the default), template, verification or pool_member. May be repeated."),
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List clusters, newest first."""
    with Client() as client:
        clusters = client.list(
            labels=parse_labels(label or []), phases=phase or [], owner=owner, purposes=purpose or []
        )
    emit(clusters, cluster_output.table(clusters), output, as_json, wide=cluster_output.table(clusters, wide=True))


@app.command("show")
def show_cluster(
    name: Name,
    wait: Annotated[WaitFor | None, typer.Option(help="Show the progress and wait for this state.")] = None,
    timeout: Timeout = 1800.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show a cluster: its phase, steps, nodes and ports; of a deleted cluster by its id or last name."""
    with Client() as client:
        look_up = partial(by_last_name, client, name, client.get)
        cluster = sync_retry(Backoff(0.0 if wait is None else timeout), look_up)
        if wait is not None:
            cluster = watch(client, cluster, wait, timeout)
    emit(cluster, cluster_output.description(cluster), output, as_json)


@app.command()
def delete(
    name: Name,
    ignore_not_found: IgnoreNotFound = False,
    wait: Wait = False,
    timeout: Timeout = 300.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Delete a cluster, in any phase, and the context that `kubeconfig --merge` added for the cluster."""
    with Client() as client, ignored_not_found(ignore_not_found):
        cluster = client.delete(name)
        forget_context(cluster)
        if wait:
            cluster = watch(client, cluster, "deleted", timeout)
    emit(cluster, cluster_output.sentence(cluster), output, as_json)


for command in (reset, hibernate, resume, idle, extend, hold, unhold, heartbeat, diagnostics):
    app.command()(command)
app.add_typer(checkpoints, name="checkpoint")


@app.command()
def registry(name: Name, output: Output = None, as_json: Json = False) -> None:
    """Show the addresses of a cluster's image registry: push from this host, pull in the cluster."""
    with Client() as client, ready_hint(client, name):
        found = client.registry(name)
    emit(found, f"push  {found.push}\npull  {found.pull}", output, as_json)


app.command()(kubeconfig)


class _WithRemoteCommand(typer.core.TyperCommand):
    """Passes the arguments after `--` as the remote command, even if they look like options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        split = args.index("--") if "--" in args else len(args)
        ctx.meta["dayfly.remote"] = args[split + 1 :]
        return super().parse_args(ctx, args[:split])


@app.command(cls=_WithRemoteCommand, options_metavar="", epilog="The node runs the command after --.")
def ssh(
    ctx: typer.Context,
    name: Name,
    node: Annotated[str, typer.Argument(help="The node's name.")] = "node01",
) -> None:
    """Log in to a node, or run a command on it: dayfly cluster ssh NAME [NODE] [-- COMMAND]."""
    with Client() as client, ready_hint(client, name):
        access = client.ssh(name, node)
    raise typer.Exit(run_ssh(access, ctx.meta["dayfly.remote"]))


@app.command()
def console(
    name: Name,
    node: Annotated[str, typer.Argument(help="The node's name.")],
    tail_bytes: Annotated[int, typer.Option(min=0, max=1048576, help="Length of the past output.")] = 65536,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Show new output, too, until the node ends; send the cluster's heartbeats meanwhile."
        ),
    ] = False,
) -> None:
    """Show the output of a node's serial console."""
    with Client() as client:
        if not follow:
            pass_on(client.console(name, node, tail_bytes=tail_bytes), nl=False)
            return
        for text in client.follow_console(name, node, tail_bytes=tail_bytes):
            pass_on(text, nl=False)


@app.command()
def events(
    name: Name,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Show new events, too, until the cluster is deleted; send its heartbeats meanwhile."
        ),
    ] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show the events of a cluster; as JSON, an object on each line."""
    with Client() as client:
        cluster = sync_retry(Backoff(REQUEST_SECONDS), partial(client.get, name))
        for event in client.follow(cluster.id) if follow else client.all_events(cluster.id):
            emit_each(event, format_event(event, cluster.created_at), output, as_json)


@app.command()
def evidence(
    name: Name,
    what: Annotated[str | None, typer.Argument(help="The text's name. Default: list the names.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show the evidence of a failed cluster: consoles, logs."""
    with Client() as client:
        if what is not None:
            text = client.evidence(name, what)
            if output is None and not as_json:
                pass_on(text)
            else:
                emit({"name": what, "text": text}, text, output, as_json)
            return
        cluster = client.get(name)
    if cluster.error is None:
        raise CommandError("not_found", f"cluster {cluster.name} has not failed and has no evidence")
    names = cluster.error.evidence
    if names or output is not None or as_json:
        emit([{"name": one} for one in names], "\n".join(names), output, as_json)
