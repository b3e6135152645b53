"""`dayfly addon`. Not here: the add-ons of a new cluster (cluster_create.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli import cluster_output, options
from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_table
from dayfly.cli.on_use import import_on_use
from dayfly.client import Client

app = typer.Typer(
    no_args_is_help=True, help="List and fetch add-ons, and change those of a cluster.", add_completion=False
)


@app.command("list")
def list_addons(output: options.Output = None, as_json: options.Json = False) -> None:
    """List the add-ons that clusters can have."""
    with Client() as client:
        found = client.addons()
    rows = [
        (
            one.name,
            f"{one.source} {one.version}" if one.version else one.source,
            "yes" if one.available else "no",
            ", ".join(one.recipes),
            ", ".join(one.needs) or "-",
            one.description,
        )
        for one in found
    ]
    table = format_table(("NAME", "SOURCE", "AVAILABLE", "IMAGES", "NEEDS", "DESCRIPTION"), rows)
    reasons = [f"{one.name} is not available: {one.unavailable_because}" for one in found if not one.available]
    emit(found, "\n".join([table, *reasons]), output, as_json)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A pulled add-on; `dayfly addon list` lists them.")],
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="Take a manifest from this file, and download none. Repeatable."),
    ] = None,
) -> None:
    """Fetch the manifests of a pulled add-on, on the server. Content without the pinned digest is refused."""
    import_on_use("dayfly.cli.addon_fetch", "addon fetch").fetch(name, files or ())


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
