"""Kubernetes' own conformance tests pass on a fork: the short list, some ten minutes.

Not here: the long list, and cold clusters (`python -m tests.conformance`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly.settings import Settings
from tests.conformance.clusters import served
from tests.conformance.programs import open_programs
from tests.conformance.runner import run_list
from tests.e2e.lab import Lab

pytestmark = pytest.mark.kubernetes

_JOBS = 3
"""Specs at once; a spec that fails beside others runs again alone."""


@pytest.mark.timeout(3600)
def test_a_fork_passes_the_short_list(lab: Lab, tmp_path: Path) -> None:
    # tests/run.sh has built the programs: here they are in the cache.
    with open_programs(Settings(), print) as programs, served(lab.client, lab.cluster.id) as target:
        assert target.kind == "fork"
        failed = run_list("short", target, programs, tmp_path, print, jobs=_JOBS)
    assert failed == {}
