"""`dayfly image …`: the commands of the catalog, over HTTP; those on the server's machine are in image.py.

The latter need the server's packages and are imported on use, so that the catalog's work where only the client is.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from dayfly.cli import image_output, options
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.on_use import import_on_use, unwrap_help
from dayfly.client import Client
from dayfly.schemas.images import ImageName as ImageNameAnswer


class _Images(typer.core.TyperGroup):
    """Has the commands of image.py as well."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        try:
            return [*self._on_server("").list_commands(ctx), *own]
        except CommandError:
            return own

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or self._on_server(cmd_name).get_command(ctx, cmd_name)

    def _on_server(self, name: str) -> Any:
        """Raises CommandError where the server's packages are not installed."""
        group = typer.main.get_command(import_on_use("dayfly.cli.image", f"image {name}").app)
        unwrap_help(group)
        return group


app = typer.Typer(
    cls=_Images,
    no_args_is_help=True,
    help="Bake, list, push and pull node images; promote and retire them.",
    add_completion=False,
)

ImageName = Annotated[str, typer.Argument(metavar="NAME", help="A name of node images, such as k8s-debian.")]
Collected = Annotated[bool, typer.Option("--collected", help="Those that were removed from the engine, too.")]


@app.command("list")
def list_images(
    server: Annotated[
        bool, typer.Option("--server", help="Ask the server for its catalog: what is promoted, used, retired.")
    ] = False,
    collected: Collected = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """List the node images on this machine's engine; with --server those of the service, with their use."""
    if not server:
        if collected:
            raise typer.BadParameter("--collected is for --server: an engine knows nothing of removed images")
        import_on_use("dayfly.cli.image", "image list").list_on_engine(output, as_json)
        return
    with Client() as client:
        found = client.images(collected=collected)
    emit(found, image_output.images(found), output, as_json, wide=image_output.images(found, wide=True))


@app.command()
def show(
    name: ImageName, collected: Collected = False, output: options.Output = None, as_json: options.Json = False
) -> None:
    """Show what a name stands for on the server, its images and its history."""
    with Client() as client:
        found = client.image(name, collected=collected)
    emit(found, image_output.name(found), output, as_json)


@app.command()
def promote(
    name: ImageName,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="A digest or its first 12 digits, or a reference. Default: the last of this name that was baked or "
            "pulled.",
        ),
    ] = None,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Let a name stand for an image: new clusters of the name are made of it. Later bakes no longer move the name."""
    with Client() as client:
        found = client.promote_image(name, image, idempotency_key=idempotency_key)
    emit(found, image_output.sentence(found), output, as_json)


@app.command()
def rollback(
    name: ImageName,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Let a name stand for the image that was promoted before."""
    with Client() as client:
        found = client.rollback_image(name, idempotency_key=idempotency_key)
    emit(found, image_output.sentence(found), output, as_json)


@app.command()
def retire(
    name: ImageName,
    image: Annotated[str, typer.Argument(help="A digest or its first 12 digits, or a reference.")],
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Let no new cluster use an image. It is removed from the engine when nothing has used it for a time."""
    with Client() as client:
        found = client.retire_image(name, image, idempotency_key=idempotency_key)
    retired = _digest_of(image, found)
    emit(found, f"{retired} is retired: its clusters go on, and no new cluster uses it", output, as_json)


def _digest_of(image: str, found: ImageNameAnswer) -> str:
    """The digest of the image that the request named, where the answer has one such retired image."""
    digits = image.removeprefix("sha256:")
    named = [
        one.digest
        for one in found.images
        if one.state == "retired"
        and (one.digest.rpartition(":")[2].startswith(digits) or {image, f"dayfly/{image}"} & {*one.references})
    ]
    return named[0] if len(named) == 1 else image
