"""`dayfly cluster …`: everything about clusters, over HTTP. Not here: output (cluster_output.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from dayfly.cli import cluster_lifecycle, cluster_lifetime, cluster_output
from dayfly.cli.cluster_create import create
from dayfly.cli.cluster_ssh import run_ssh
from dayfly.cli.errors import CommandError
from dayfly.cli.formatting import parse_labels
from dayfly.cli.options import Json, Name, Timeout, Wait
from dayfly.cli.private_files import merge_kubeconfig, user_kubeconfig, write_private
from dayfly.cli.progress.cluster import format_event, watch
from dayfly.client import Client
from dayfly.vocabulary import WaitFor

app = typer.Typer(no_args_is_help=True, help="Create, look at, use and delete clusters.", add_completion=False)


app.command()(create)


@app.command("list")
def list_clusters(
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those that have it.")] = None,
    phase: Annotated[list[str] | None, typer.Option(help="Only those in it; `deleted` ones are shown only so.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    purpose: Annotated[
        list[str] | None,
        typer.Option(help="cluster (the default), template, verification or pool_member. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List clusters, newest first."""
    with Client() as client:
        clusters = client.list(
            labels=parse_labels(label or []), phases=phase or [], owner=owner, purposes=purpose or []
        )
    typer.echo(cluster_output.as_json(clusters) if as_json else cluster_output.table(clusters))


@app.command("show")
def show_cluster(
    name: Name,
    wait: Annotated[WaitFor | None, typer.Option(help="Wait until it is so, showing the progress.")] = None,
    timeout: Timeout = 1800.0,
    as_json: Json = False,
) -> None:
    """Show a cluster: its phase, steps, nodes and ports."""
    with Client() as client:
        cluster = client.get(name)
        if wait is not None:
            cluster = watch(client, cluster, wait, timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.description(cluster))


@app.command()
def delete(name: Name, wait: Wait = False, timeout: Timeout = 300.0, as_json: Json = False) -> None:
    """Delete a cluster, whatever it is doing."""
    with Client() as client:
        cluster = client.delete(name)
        if wait:
            cluster = watch(client, cluster, "deleted", timeout)
    typer.echo(cluster_output.as_json(cluster) if as_json else cluster_output.sentence(cluster))


for command in (
    *(cluster_lifecycle.reset, cluster_lifecycle.hibernate, cluster_lifecycle.resume, cluster_lifecycle.idle),
    *(
        cluster_lifetime.extend,
        cluster_lifetime.hold,
        cluster_lifetime.unhold,
        cluster_lifetime.heartbeat,
        cluster_lifetime.diagnostics,
    ),
):
    app.command()(command)
app.add_typer(cluster_lifecycle.checkpoints, name="checkpoint")


@app.command()
def kubeconfig(
    name: Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there, mode 0600.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Add it to kubectl's own file, as dayfly-NAME.")] = False,
) -> None:
    """Fetch a ready cluster's kubeconfig: to standard output, a file, or kubectl's own file."""
    if merge and output is not None:
        raise typer.BadParameter("either --output or --merge")
    with Client() as client:
        text = client.kubeconfig(name)
        context = f"dayfly-{client.get(name).name}" if merge else ""
    if merge:
        path = user_kubeconfig()
        merge_kubeconfig(path, text, context)
        typer.echo(f"{path}: the current context is now {context}", err=True)
    elif output is not None:
        write_private(output, text)
    else:
        typer.echo(text, nl=False)


class _WithRemoteCommand(typer.core.TyperCommand):
    """Keeps what follows `--` apart, which is a remote command, whatever it looks like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        split = args.index("--") if "--" in args else len(args)
        ctx.meta["dayfly.remote"] = args[split + 1 :]
        return super().parse_args(ctx, args[:split])


@app.command(cls=_WithRemoteCommand, options_metavar="", epilog="What follows -- is run on the node.")
def ssh(
    ctx: typer.Context,
    name: Name,
    node: Annotated[str, typer.Argument(help="Which node.")] = "node01",
) -> None:
    """Log in to a node, or run a command there: dayfly cluster ssh NAME [NODE] [-- COMMAND]."""
    with Client() as client:
        access = client.ssh(name, node)
    raise typer.Exit(run_ssh(access, ctx.meta["dayfly.remote"]))


@app.command()
def console(
    name: Name,
    node: Annotated[str, typer.Argument(help="Which node.")],
    tail_bytes: Annotated[int, typer.Option(min=0, max=1048576, help="How much of its end.")] = 65536,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what it prints.")] = False,
) -> None:
    """Show what a node printed on its serial console."""
    with Client() as client:
        if not follow:
            typer.echo(client.console(name, node, tail_bytes=tail_bytes), nl=False)
            return
        for text in client.follow_console(name, node, tail_bytes=tail_bytes):
            typer.echo(text, nl=False)


@app.command()
def events(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the cluster is deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what happened to a cluster."""
    with Client() as client:
        cluster = client.get(name)
        for event in client.follow(cluster.id) if follow else client.all_events(cluster.id):
            typer.echo(event.model_dump_json() if as_json else format_event(event, cluster))


@app.command()
def evidence(
    name: Name, what: Annotated[str | None, typer.Argument(help="Which text; left out: list them.")] = None
) -> None:
    """Show what a failed cluster left behind: consoles, logs."""
    with Client() as client:
        if what is not None:
            typer.echo(client.evidence(name, what))
            return
        cluster = client.get(name)
    if cluster.error is None:
        raise CommandError("not_found", f"the cluster {cluster.name} has not failed: there is no evidence")
    for one in cluster.error.evidence:
        typer.echo(one)
