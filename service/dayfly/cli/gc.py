"""`dayfly gc`: removes, or only shows, what nobody owns any more. What that is stands in reconcile/sweeper.py."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dayfly.app import open_outside, sweeper_of
from dayfly.cli.server_settings import server_settings
from dayfly.clock import SystemClock
from dayfly.errors import DayflyError
from dayfly.reconcile.sweeper import Stray
from dayfly.settings import Settings
from dayfly.store import Store


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """Remove what nobody owns any more: containers, volumes and networks of this installation without a living cluster.

    Volumes of templates that are gone, too. Runs on the server, with its settings. Workers do the same now and then by
    themselves; of what was never on record, though, only after DAYFLY_STRAY_GRACE_SECONDS: this command asks for no
    grace. Nothing that lacks this installation's label is touched. Ends with exit code 1 if something could not be
    removed.
    """
    strays, failures = asyncio.run(_sweep(server_settings(), dry_run=dry_run))
    if as_json:
        listed = [
            {
                "kind": stray.holding.kind,
                "name": stray.holding.name,
                "cluster": stray.holding.cluster_id or None,
                "template": stray.holding.template_id or None,
                "why": stray.why,
                "error": failures.get(stray.holding.id),
            }
            for stray in strays
        ]
        print(json.dumps({"dry_run": dry_run, "strays": listed}, indent=2))
    else:
        _show(strays, failures, dry_run=dry_run)
    raise typer.Exit(1 if failures else 0)


async def _sweep(settings: Settings, *, dry_run: bool) -> tuple[tuple[Stray, ...], dict[str, str]]:
    clock = SystemClock()
    store = await Store.open(settings.database)
    failures: dict[str, str] = {}
    try:
        async with open_outside(settings, clock) as outside:
            sweeper = sweeper_of(settings, store, outside, clock)
            strays = await sweeper.strays()
            for stray in () if dry_run else strays:
                try:
                    await sweeper.remove(stray)
                except DayflyError as error:
                    failures[stray.holding.id] = error.message
    finally:
        await store.close()
    return strays, failures


def _show(strays: tuple[Stray, ...], failures: dict[str, str], *, dry_run: bool) -> None:
    console = Console()
    if not strays:
        console.print("nothing is left over")
        return
    table = Table("kind", "name", "why", "would be removed" if dry_run else "removed", box=None, pad_edge=False)
    for stray in strays:
        result = failures.get(stray.holding.id, "yes")
        table.add_row(stray.holding.kind, stray.holding.name, stray.why, result)
    console.print(table)
