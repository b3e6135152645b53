"""`dayfly image bases` lists the bases of recipes, and what is newer upstream; `fetch-base` fetches a cloud image."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from dayfly import assets
from dayfly.cli.emit import emit
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_table
from dayfly.cli.image_tools import run_command
from dayfly.cli.options import Json, Output
from dayfly.cli.server_settings import command_settings
from dayfly.cli.signals import run_interruptible
from dayfly.cli.terminal import say
from dayfly.clock import SystemClock
from dayfly.errors import DayflyError, InvalidRequest
from dayfly.images.cloud.fetch import fetch_image
from dayfly.images.cloud.http import client
from dayfly.images.cloud.inspect import inspect
from dayfly.images.cloud.newer import changed_file, find_newer, unified_diff
from dayfly.images.cloud.tools import check_tools
from dayfly.images.cloud_base import CloudBase
from dayfly.images.recipe import Base, base_file, base_names, load_any_base

_CHECK_HELP = (
    "Look for newer images upstream, and print the change of each base's file as a unified diff. Nothing is written."
)


@dataclass(frozen=True)
class _Checked:
    """The result for one base: `diff` and `error` are empty where there is none."""

    name: str
    state: str
    diff: str = ""
    error: str = ""


def bases(
    check: Annotated[bool, typer.Option("--check", help=_CHECK_HELP)] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List the bases of recipes."""
    found = {name: load_any_base(name) for name in base_names()}
    if not check:
        rows = [(name, *_summary(base)) for name, base in found.items()]
        fields = [_fields(name, base) for name, base in found.items()]
        emit(fields, format_table(("BASE", "KIND", "FAMILY", "SOURCE"), rows), output, as_json)
        return
    checked = run_interruptible(_check(found))
    fields = [{"name": one.name, "state": one.state, "diff": one.diff, "error": one.error} for one in checked]
    diffs = [one.diff for one in checked if one.diff]
    if diffs or output is not None or as_json:
        emit(fields, "\n".join(diffs), output, as_json)
    for one in checked:
        say(f"{one.name}: {one.error or one.state}", err=True)
    if any(one.error for one in checked):
        raise typer.Exit(ExitCode.FAILED)


def fetch_base(
    name: Annotated[str, typer.Argument(metavar="BASE", help="A cloud image; `dayfly image bases` lists them.")],
) -> None:
    """Download a base's cloud image into the cache, verify its checksum, and inspect it.

    An interrupted download is continued by the next call. No recipe is baked on a cloud image in this release.
    """
    base = load_any_base(name)
    if not isinstance(base, CloudBase):
        raise InvalidRequest(f"the base {name} is no cloud image: a bake makes its root file system of packages")
    said = "interrupted: the next call continues the download"
    run_command(_fetch(name, base, command_settings().cache_dir), said)


async def _fetch(name: str, base: CloudBase, cache_dir: Path) -> None:
    check_tools()
    root = assets.provisioning()

    def on_line(line: str) -> None:
        say(line, err=True)

    image = await fetch_image(base, root=root, cache_dir=cache_dir, clock=SystemClock(), on_line=on_line)
    # In the cache, where there is room for images: the scratch folder has a copy of the whole disk.
    with TemporaryDirectory(prefix="inspect.", dir=image.parent) as scratch:
        found = await inspect(image, Path(scratch))
        found.boot(base.boot)
    say(f"{name} is {image}")
    say(f"it boots by {base.boot}; cloud-init: {'yes' if found.cloud_init else 'not known before the first boot'}")


def _summary(base: Base | CloudBase) -> tuple[str, str, str]:
    if isinstance(base, CloudBase):
        return base.kind, base.family, base.url
    return "mmdebstrap", "apt", f"Debian's suite {base.suite}"


def _fields(name: str, base: Base | CloudBase) -> dict[str, Any]:
    kind, family, source = _summary(base)
    fields: dict[str, Any] = {"name": name, "kind": kind, "family": family, "source": source}
    if isinstance(base, CloudBase):
        signed = base.signed_checksums
        fields |= {
            "description": base.description,
            "boot": base.boot,
            "checksum": base.checksum,
            "signed_by": signed.fingerprint if signed is not None else None,
        }
    return fields


async def _check(found: dict[str, Base | CloudBase]) -> list[_Checked]:
    return await asyncio.gather(*(_check_one(name, base) for name, base in found.items()))


async def _check_one(name: str, base: Base | CloudBase) -> _Checked:
    if not isinstance(base, CloudBase):
        return _Checked(name, "packages are the newest of its suite when a bake makes its root file system")
    if base.newer is None:
        return _Checked(name, "its address always has the newest image")
    try:
        async with client() as http:
            candidate = await find_newer(base, http)
    except DayflyError as error:
        return _Checked(name, "unknown", error=f"[{error.code}] {error.message}")
    if candidate is None:
        return _Checked(name, "is the newest")
    file = base_file(name)
    before = file.read_text()
    shown_name = f"{assets.provisioning().name}/base/{file.name}"
    diff = unified_diff(shown_name, before, changed_file(before, base, candidate))
    return _Checked(name, f"{candidate.version} is newer", diff=diff)
