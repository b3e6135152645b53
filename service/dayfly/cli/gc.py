"""`dayfly gc`: lists or removes orphans, over HTTP. Not here: which objects are orphans (controllers/gc.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_table
from dayfly.cli.options import Json, Output
from dayfly.client import Client
from dayfly.vocabulary import OutputFormat


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the orphans, with reasons.")] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Remove orphans: containers, volumes and networks of this installation without a living cluster or template.

    The service removes the orphans at once. Its workers also remove orphans, but those without any record of an owner
    only after DAYFLY_ORPHAN_GRACE_SECONDS. Objects without this installation's label stay. Exit code 1 if a removal
    failed.
    """
    with Client() as client:
        found = client.orphans() if dry_run else client.remove_orphans()
    columns = ("KIND", "NAME", "WHY", "WOULD BE REMOVED" if dry_run else "REMOVED")
    table = format_table(columns, [(one.kind, one.name, one.why, one.error or "yes") for one in found])
    text = table if found else "no orphans"
    if as_json or output in {OutputFormat.JSON, OutputFormat.YAML}:
        emit({"dry_run": dry_run, "orphans": [one.model_dump() for one in found]}, text, output, as_json)
    else:
        emit(found, text, output)
    raise typer.Exit(1 if any(one.error for one in found) else 0)
