"""`dayfly image …`: bakes node images, lists, pushes and pulls them. Runs on the server's machine, not over HTTP.

Not here: the commands over HTTP, and the group that has both (image_group.py).
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Final

import typer

from dayfly.assets import provisioning
from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_age, format_table
from dayfly.cli.image_bases import bases, fetch_base
from dayfly.cli.image_tools import ImageTools, open_tools, run_command
from dayfly.cli.options import Json, Output
from dayfly.cli.progress.bake import BakeView
from dayfly.cli.progress.live import Console
from dayfly.cli.progress.transfer import TransferView
from dayfly.cli.server_settings import command_settings
from dayfly.cli.terminal import say
from dayfly.clock import SystemClock
from dayfly.drivers.docker.tool_containers import DockerTools
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake as bake_image
from dayfly.images.bake import is_baked
from dayfly.images.container_bake import CACHE_VOLUME, CAPABILITIES, bake_in_container
from dayfly.images.host import missing, reason_for_container
from dayfly.images.kubernetes_versions import load_versions
from dayfly.images.node_images import NodeImage, list_images, pull_image, push_image
from dayfly.images.package_index import find_versions
from dayfly.images.progress import Report
from dayfly.images.recipe import load_recipe, recipe_names
from dayfly.settings import Settings
from dayfly.vocabulary import OutputFormat

_CAPABILITIES_HELP: Final = "\n\n".join(f"{name}: {reason}" for name, reason in CAPABILITIES.items())
_BAKE_HELP: Final = f"""\
Bake a node image, verify it by a boot, and tag it dayfly/RECIPE:latest.

A bake runs on this host if possible: as root, on a Debian with the tools of a bake. Otherwise it runs in a container
on the engine, from the Debian image that DAYFLY_BAKE_BASE names (default: debian:bookworm-slim), with this host's
mirror, proxies, pip configuration and certificate authorities.

The container is not privileged: no new privileges, Docker's default seccomp profile. AppArmor's and SELinux' profiles
for containers, which deny mounts, are off. The container uses the host's network, the volume {CACHE_VOLUME} as its
cache, and the engine's socket for import and verification: it has this user's rights on the engine.

The container's capabilities:

{_CAPABILITIES_HELP}
"""

_BAKE_INTERRUPTED: Final = (
    "interrupted: unfinished phases were removed; the next bake continues after the finished ones"
)

_FAMILY: Final = "k8s"
_VERSIONS: Final = "kubernetes/versions.yaml"

app = typer.Typer(no_args_is_help=True, help="Bake node images, list, push and pull them.", add_completion=False)


@app.command(help=_BAKE_HELP)
def bake(
    recipe: Annotated[str, typer.Argument(help="A recipe's name; `dayfly image recipes` lists them.")],
    in_container: Annotated[
        bool | None, typer.Option("--in-container/--on-host", help="Where to bake. Default: on the host if possible.")
    ] = None,
) -> None:
    """See _BAKE_HELP."""
    run_command(_bake(recipe, in_container, command_settings()), _BAKE_INTERRUPTED)


@app.command()
def recipes(output: Output = None, as_json: Json = False) -> None:
    """List the recipes."""
    found = [{"name": name, "description": load_recipe(name).description} for name in recipe_names()]
    emit(found, format_table(("RECIPE", "DESCRIPTION"), [tuple(one.values()) for one in found]), output, as_json)


app.command()(bases)
app.command("fetch-base")(fetch_base)


def list_on_engine(output: OutputFormat | None, as_json: bool) -> None:
    """List the node images on this engine."""
    run_command(_list(command_settings(), output, as_json))


@app.command()
def versions(output: Output = None, as_json: Json = False) -> None:
    """List the versions of Kubernetes: which releases upstream has, and which are baked.

    Upstream is the package repository that DAYFLY_KUBERNETES_PACKAGES names. The recipe k8s-1.36 bakes the release in
    the column PINNED; `dayfly image bake k8s-1.36.7` bakes any other release.
    """
    run_command(_versions(command_settings(), output, as_json))


@app.command()
def push(
    image: Annotated[str, typer.Argument(help="A recipe's name, or an image's reference.")],
    target: Annotated[str, typer.Argument(metavar="REGISTRY/REFERENCE", help="The target: host:5000/dayfly/bare:1")],
) -> None:
    """Push a node image to a registry."""
    run_command(_push(image, target, command_settings()))


@app.command()
def pull(
    source: Annotated[str, typer.Argument(metavar="REGISTRY/REFERENCE", help="host:5000/dayfly/bare:1, or …@sha256:…")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name here. Default: that of its recipe.")
    ] = None,
) -> None:
    """Pull a node image from a registry, and tag it dayfly/NAME:latest, as its bake did."""
    run_command(_pull(source, name, command_settings()))


async def _bake(recipe: str, in_container: bool | None, settings: Settings) -> None:
    async with open_tools(settings) as tools:
        reason = reason_for_container(missing(), in_container)
        if reason is not None and in_container is None and await is_baked(recipe, tools.images):
            reason = None  # the image exists: the bake only tags it
        if reason is not None:
            say(f"baking in a container: {reason}")
        with BakeView(Console()) as view:
            if reason is None:
                image_id = await _bake_on_host(recipe, tools, view.show, settings)
            else:
                image_id = await _bake_in_container(recipe, tools, view.show, settings)
    say(f"dayfly/{recipe}:latest is {image_id}")


async def _bake_on_host(recipe: str, tools: ImageTools, report: Report, settings: Settings) -> str:
    return await bake_image(
        recipe,
        images=tools.images,
        builder=tools.images,
        cache_dir=settings.cache_dir,
        report=report,
        verify=tools.verify,
        mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
        addresses=settings.bake_addresses,
        host=tools.machine_host,
    )


async def _bake_in_container(recipe: str, tools: ImageTools, report: Report, settings: Settings) -> str:
    async with aclosing(DockerTools(settings.docker_host)) as runner:
        return await bake_in_container(
            recipe,
            base=settings.bake_base,
            images=tools.images,
            tools=runner,
            report=report,
            clock=SystemClock(),
            settings=settings.environment("instance", "accelerator", "publish_address", "port_range")
            | settings.address_variables(),
            folders=settings.address_files(),
        )


async def _list(settings: Settings, output: OutputFormat | None, as_json: bool) -> None:
    async with open_tools(settings) as tools:
        found = await list_images(tools.images)
    table = format_table(("IMAGE", "RECIPE", "KUBERNETES", "SIZE", "AGE", "ID"), [_row(image) for image in found])
    emit([_fields(image) for image in found], table, output, as_json)


async def _versions(settings: Settings, output: OutputFormat | None, as_json: bool) -> None:
    async with open_tools(settings) as tools:
        images = await list_images(tools.images)
    found = await find_versions(_FAMILY, load_versions(provisioning() / _VERSIONS), images, settings.bake_addresses)
    rows = [
        (one.minor, one.recipe or "-", one.pinned or "-", one.newest or "-", ", ".join(one.baked) or "-")
        for one in found
    ]
    table = format_table(("KUBERNETES", "RECIPE", "PINNED", "NEWEST", "BAKED"), rows)
    emit([{**asdict(one), "newest": one.newest} for one in found], table, output, as_json)


def _fields(image: NodeImage) -> dict[str, object]:
    info, manifest = image.info, image.manifest
    references = sorted(info.references)
    return {
        "name": references[0] if references else info.id,
        "references": references,
        "recipe": manifest.recipe,
        "kubernetes_version": manifest.kubernetes.version if manifest.kubernetes else None,
        "size_bytes": info.size_bytes,
        "created_at": info.created_at.isoformat(),
        "id": info.id,
    }


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
        async with open_tools(settings) as tools:
            await push_image(tools.images, image, target, view.show)
    say(f"pushed {target}")


async def _pull(source: str, name: str | None, settings: Settings) -> None:
    with TransferView(Console()) as view:
        async with open_tools(settings) as tools:
            pulled = await pull_image(tools.images, source, view.show, name=name)
    say(f"dayfly/{name or pulled.manifest.recipe}:latest is {pulled.info.id}")
