"""`dayfly image …`: bakes node images, lists, pushes and pulls them. Runs on the server's machine, not over HTTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from dayfly.app import STEPS, open_outside
from dayfly.cli.bake_view import BakeView
from dayfly.cli.transfer_view import TransferView
from dayfly.cli.values import format_age, format_table
from dayfly.clock import SystemClock
from dayfly.domain.image import ImageManifest
from dayfly.domain.topology import Publication
from dayfly.drivers.docker_images import DockerImages
from dayfly.drivers.protocols import Drivers
from dayfly.errors import DayflyError
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake as bake_image
from dayfly.images.progress import OnLine
from dayfly.images.recipe import load_recipe, recipe_names
from dayfly.images.transfer import NodeImage, list_images, pull_image, push_image
from dayfly.settings import Settings
from dayfly.verification import Verifier
from dayfly.wires import Accelerators

app = typer.Typer(no_args_is_help=True, help="Bake node images, list, push and pull them.", add_completion=False)


@app.command()
def bake(recipe: Annotated[str, typer.Argument(help="A recipe's name; `dayfly image recipes` lists them.")]) -> None:
    """Bake a node image, verify it by a boot, and tag it dayfly/RECIPE:latest. Needs root and a container engine."""
    _run(_bake(recipe, Settings()))


@app.command()
def recipes() -> None:
    """The recipes there are."""
    rows = [(name, load_recipe(name).description) for name in recipe_names()]
    typer.echo(format_table(("RECIPE", "WHAT"), rows))


@app.command("list")
def list_() -> None:
    """The node images on this engine."""
    _run(_list(Settings()))


@app.command()
def push(
    image: Annotated[str, typer.Argument(help="A recipe's name, or an image's reference.")],
    target: Annotated[str, typer.Argument(metavar="REGISTRY/REFERENCE", help="Where to: host:5000/dayfly/bare:1")],
) -> None:
    """Push a node image to a registry."""
    _run(_push(image, target, Settings()))


@app.command()
def pull(source: Annotated[str, typer.Argument(metavar="REGISTRY/REFERENCE", help="host:5000/dayfly/bare:1")]) -> None:
    """Pull a node image from a registry, and give it the names that its bake gave it."""
    _run(_pull(source, Settings()))


async def _bake(recipe: str, settings: Settings) -> None:
    with BakeView(Console()) as view:
        async with _open_tools(settings) as tools:
            image_id = await bake_image(
                recipe,
                images=tools.images,
                builder=tools.images,
                cache_dir=settings.cache_dir,
                report=view.show,
                verify=tools.verify,
                mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
            )
    typer.echo(f"dayfly/{recipe}:latest is {image_id}")


async def _list(settings: Settings) -> None:
    async with _open_tools(settings) as tools:
        found = await list_images(tools.images)
    typer.echo(format_table(("IMAGE", "RECIPE", "KUBERNETES", "SIZE", "AGE", "ID"), [_row(image) for image in found]))


def _row(image: NodeImage) -> tuple[str, ...]:
    info, manifest = image.info, image.manifest
    return (
        ", ".join(sorted(info.references)) or "-",
        manifest.recipe,
        manifest.kubernetes.version if manifest.kubernetes else "-",
        f"{info.size_bytes / 1e6:.0f} MB",
        format_age(info.created_at),
        info.id.removeprefix("sha256:")[:12],
    )


async def _push(image: str, target: str, settings: Settings) -> None:
    with TransferView(Console()) as view:
        async with _open_tools(settings) as tools:
            await push_image(tools.images, image, target, view.show)
    typer.echo(f"pushed {target}")


async def _pull(source: str, settings: Settings) -> None:
    with TransferView(Console()) as view:
        async with _open_tools(settings) as tools:
            pulled = await pull_image(tools.images, source, view.show)
    typer.echo(f"dayfly/{pulled.manifest.recipe}:latest is {pulled.info.id}")


@dataclass(frozen=True)
class _Tools:
    """What these commands work with."""

    settings: Settings
    images: DockerImages
    drivers: Drivers

    async def verify(self, image_id: str, manifest: ImageManifest, progress: OnLine) -> None:
        """images.bake.Verify, on what this machine's VMs run on."""
        accelerator = await Accelerators(self.settings, self.images).accelerator(image_id)
        progress(f"nodes run on {accelerator}")
        publication = Publication(self.settings.publish_address, self.settings.port_range)
        verifier = Verifier(self.settings.instance, self.drivers, STEPS, accelerator, publication, SystemClock())
        await verifier(image_id, manifest, progress)


@asynccontextmanager
async def _open_tools(settings: Settings) -> AsyncIterator[_Tools]:
    # An installation of its own: a service on this engine takes what it does not know for left over.
    own = settings.model_copy(update={"instance": f"{settings.instance}.bake"})
    async with open_outside(own, SystemClock()) as outside:
        yield _Tools(own, outside.images, outside.drivers)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; SIGTERM ends it as Ctrl-C does: cancelled, with everything cleaned up."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    try:
        asyncio.run(main())
    except DayflyError as error:
        for name, text in error.evidence.items():
            typer.echo(f"--- {name}\n{text}", err=True)
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("interrupted; nothing half-made was left", err=True)
        raise typer.Exit(130) from None
