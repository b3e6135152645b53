"""`dayfly addon`. Not here: the add-ons of a new cluster (cluster_create.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli import cluster_output, options
from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_table
from dayfly.client import Client

app = typer.Typer(no_args_is_help=True, help="List add-ons, and change those of a cluster.", add_completion=False)


@app.command("list")
def list_addons(output: options.Output = None, as_json: options.Json = False) -> None:
    """List the add-ons that clusters can have."""
    with Client() as client:
        found = client.addons()
    rows = [(one.name, ", ".join(one.recipes), ", ".join(one.needs) or "-", one.description) for one in found]
    emit(found, format_table(("NAME", "IMAGES", "NEEDS", "DESCRIPTION"), rows), output, as_json)


@app.command("set")
def set_addons(
    name: options.Name,
    addons: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDON]...", help="All its add-ons from now on; none: remove all.")
    ] = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Change the add-ons of a ready cluster. `dayfly cluster show` has their states."""
    with Client() as client:
        cluster = client.change(name, addons=addons or [])
    emit(cluster, cluster_output.addons_sentence(cluster), output, as_json)
