"""`dayfly template …`, over HTTP. Not here: output (template_pool_output.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli import template_pool_output
from dayfly.cli.options import (
    DiskGib,
    Image,
    Json,
    MemoryMib,
    Vcpus,
    WorkerDiskGib,
    WorkerMemoryMib,
    Workers,
    WorkerVcpus,
    sizes,
)
from dayfly.client import Client
from dayfly.vocabulary import Readiness

app = typer.Typer(no_args_is_help=True, help="Create, show and delete templates of clusters.", add_completion=False)

TemplateId = Annotated[str, typer.Argument(metavar="ID", help="A template's id.")]


@app.command()
def create(
    *,
    image: Image,
    workers: Workers = 0,
    vcpus: Vcpus = None,
    memory_mib: MemoryMib = None,
    disk_gib: DiskGib = None,
    worker_vcpus: WorkerVcpus = None,
    worker_memory_mib: WorkerMemoryMib = None,
    worker_disk_gib: WorkerDiskGib = None,
    readiness: Annotated[Readiness | None, typer.Option(help="Condition for `ready` of the forks.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of the clusters that may be forks.")] = None,
    as_json: Json = False,
) -> None:
    """Create a template: new clusters of the same shape and owner are forks of it, ready in seconds."""
    control_plane, worker = sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib))
    with Client() as client:
        made = client.create_template(
            image=image,
            workers=workers,
            control_plane=control_plane,
            worker=worker,
            readiness=readiness,
            owner=owner,
        )
    typer.echo(template_pool_output.as_json(made) if as_json else f"template {made.id} is {made.phase}")


@app.command("list")
def list_templates(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Retired ones, too.")] = False,
    as_json: Json = False,
) -> None:
    """List templates, newest first."""
    with Client() as client:
        found = client.templates(owner=owner, retired=retired)
    typer.echo(template_pool_output.as_json(found) if as_json else template_pool_output.templates(found))


@app.command()
def show(template: TemplateId, as_json: Json = False) -> None:
    """Show a template: its phase, size, forks, builder and image."""
    with Client() as client:
        found = client.template(template)
    typer.echo(template_pool_output.as_json(found) if as_json else template_pool_output.template(found))


@app.command()
def delete(template: TemplateId, as_json: Json = False) -> None:
    """Retire a template: it serves no new forks, and its forks stay."""
    with Client() as client:
        found = client.delete_template(template)
    typer.echo(template_pool_output.as_json(found) if as_json else f"template {found.id} is {found.phase}")
