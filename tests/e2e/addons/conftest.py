"""One add-on at a time in the cluster of all tests: one request installs it while the cluster runs, another removes it.

All at once are too much for two emulated nodes: one of them lost its lease.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.addons.change import change, installed, working
from tests.e2e.lab import Lab


@pytest.fixture(scope="module", autouse=True)
def addon(request: pytest.FixtureRequest, shared_lab: Lab) -> Iterator[None]:
    """The cluster has the module's add-on; afterwards nothing is left of it."""
    with working(shared_lab, request.module.ADDON):
        yield


@pytest.fixture(autouse=True)
def present(request: pytest.FixtureRequest, addon: None, shared_lab: Lab) -> None:
    """The module's add-on works: a test may have removed it."""
    if request.module.ADDON not in installed(shared_lab):
        change(shared_lab, request.module.ADDON)
