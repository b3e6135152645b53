"""`dayfly template …`, over HTTP. Not here: output (template_pool_output.py)."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from dayfly.cli import options, template_pool_output
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError, ignored_not_found
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import Client, Cluster, Template
from dayfly.vocabulary import Readiness

app = typer.Typer(no_args_is_help=True, help="Create, show and delete templates of clusters.", add_completion=False)

TemplateId = Annotated[str, typer.Argument(metavar="ID", help="A template's id.")]


@app.command()
def create(
    *,
    image: options.Image,
    workers: options.Workers = 0,
    vcpus: options.Vcpus = None,
    memory_mib: options.MemoryMib = None,
    disk_gib: options.DiskGib = None,
    worker_vcpus: options.WorkerVcpus = None,
    worker_memory_mib: options.WorkerMemoryMib = None,
    worker_disk_gib: options.WorkerDiskGib = None,
    readiness: Annotated[Readiness | None, typer.Option(help="Condition for `ready` of the forks.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of the clusters that may be forks.")] = None,
    addon: options.Addons = None,
    wait: options.Wait = False,
    timeout: options.Timeout = 3600.0,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a template: new clusters of the same shape and owner are forks of it, ready in seconds."""
    with Client() as client:
        made = client.create_template(
            image=image,
            workers=workers,
            **options.sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib)),
            readiness=readiness,
            owner=owner,
            addons=addon or None,
            idempotency_key=idempotency_key,
        )
        if wait:
            made, _ = wait_for(
                partial(_look, client, made.id),
                lambda seen: seen[0].phase not in {"building", "verifying"},
                lambda seen: template_pool_output.template_progress(*seen),
                f"template {made.id}",
                timeout,
                if_interrupted=(
                    f"template {made.id} is being built; it lives until it is deleted, old or unused",
                    f"dayfly template delete {made.id}",
                ),
            )
            _require_ready(made)
    emit(made, f"template {made.id} is {made.phase}", output, as_json)


@app.command("list")
def list_templates(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Retired ones, too.")] = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """List templates, newest first."""
    with Client() as client:
        found = client.templates(owner=owner, retired=retired)
    emit(found, template_pool_output.templates(found), output, as_json)


@app.command()
def show(template: TemplateId, output: options.Output = None, as_json: options.Json = False) -> None:
    """Show a template: its phase, size, forks, builder and image."""
    with Client() as client:
        found = client.template(template)
    emit(found, template_pool_output.template(found), output, as_json)


@app.command()
def delete(
    template: TemplateId,
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Retire a template: it serves no new forks, and its forks stay."""
    with Client() as client, ignored_not_found(ignore_not_found):
        found = client.delete_template(template)
    emit(found, f"template {found.id} is {found.phase}", output, as_json)


def _look(client: Client, template_id: str) -> tuple[Template, Cluster | None]:
    """The template, and its builder while that is provisioned."""
    template = client.template(template_id)
    is_provisioned = template.phase == "building" and not template.size_bytes
    return template, client.get(template.parents.builder) if is_provisioned else None


def _require_ready(template: Template) -> None:
    if template.phase == "ready":
        return
    error = template.error
    detail = f"template {template.id} {f'failed: {error.message}' if error else f'is {template.phase}'}"
    hint = f"dayfly template show {template.id}"
    raise CommandError(error.code if error else "not_ready", detail, hint, exit_code=ExitCode.FAILED)
