"""The table of hosts in deploy/README.md matches the recorded results of the stage `hosts`."""

from __future__ import annotations

import json

from tests.hosts import results
from tests.hosts.kinds import KINDS


def test_the_readme_has_the_table_of_the_results() -> None:
    recorded = json.loads(results.FILE.read_text())
    assert {name for name, kind in KINDS.items() if kind.engine} <= set(recorded)
    assert results.in_readme(results.README.read_text()) == results.table(recorded)


def test_a_row_names_system_engine_store_python_what_ran_and_when() -> None:
    row = {
        "system": "Debian GNU/Linux 13 (trixie)",
        "engine": "Podman 5.4.2 (API 1.41)",
        "image_store": "overlay",
        "python": "3.13.5",
        "trials": ["host", "image"],
        "seconds": 212.4,
        "date": "2026-11-28",
    }
    expected = (
        "| Debian GNU/Linux 13 (trixie) | Podman 5.4.2 (API 1.41) | overlay | 3.13.5 | 2 trials, 212 s | 2026-11-28 |"
    )
    assert expected in results.table({"podman": row}).splitlines()
