"""Dayfly's features work on each system and engine in the README: `dayfly doctor --full` passes on each."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

import pytest

from tests.hosts import results
from tests.hosts.namespaced_host import NamespacedHost

pytestmark = [pytest.mark.docker, pytest.mark.vm]

FULL_SECONDS: Final = 1200
TRIALS: Final = [
    *("host", "image", "service", "cold cluster", "ssh", "network", "registry", "cluster deletion", "template", "fork"),
    *("reset", "checkpoint", "hibernate and resume", "image transfer", "deletion", "gc", "nothing left", "clean-up"),
]


def test_a_host_of_this_kind_does_all_that_dayfly_promises(host: NamespacedHost) -> None:
    before = host.engine_objects()
    report = examine(host)
    failed = [trial for trial in report["trials"] if trial["verdict"] != "ok"]
    assert failed == [], json.dumps(report, indent=2)
    assert [trial["name"] for trial in report["trials"]] == TRIALS
    assert report["healthy"] is True
    assert host.engine_objects() == before
    results.record(host.kind.name, report)


def examine(host: NamespacedHost) -> dict[str, Any]:
    """The report of `dayfly doctor --full`."""
    argv = host.command(
        *("/opt/dayfly/bin/dayfly", "doctor", "--full", "--image", "bare", "--json"),
        DAYFLY_DOCKER_HOST=f"unix://{host.kind.socket}",
    )
    done = subprocess.run(argv, capture_output=True, text=True, timeout=FULL_SECONDS, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["healthy"] else 1), done.stderr
    return report
