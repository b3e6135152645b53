"""`dayfly gc`: lists orphans, and removes them by the service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from typer.testing import Result

Dayfly = Callable[..., Result]


def test_what_would_be_removed_is_shown(dayfly: Dayfly) -> None:
    done = dayfly("gc", "--dry-run")
    assert done.exit_code == 0, done.output
    assert [re.split(" {2,}", line) for line in done.stdout.splitlines()] == [
        ["KIND", "NAME", "WHY", "WOULD BE REMOVED"],
        ["volume", "gone-data", "cluster 0123456789ab is deleted", "yes"],
        ["volume", "used", "template feedfeedfeed is retired", "yes"],
    ]


def test_what_could_not_be_removed_is_an_exit_code(dayfly: Dayfly) -> None:
    done = dayfly("gc", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["dry_run"] is False
    assert [(one["name"], one["error"]) for one in told["orphans"]] == [
        ("gone-data", None),
        ("used", "volume is in use"),
    ]
    assert "volume is in use" in dayfly("gc").stdout
