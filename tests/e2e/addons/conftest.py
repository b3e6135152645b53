"""All add-ons at once in the cluster of all tests: one request installs them while it runs, and another removes them.

What an emulated cluster waits for, it waits for once: pods, and the controllers that delete what a Deployment owned.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.addons.change import baked, change, installed, traces
from tests.e2e.addons.ingresses import addresses, apply, ingress, path, rule
from tests.e2e.lab import Lab
from tests.support.guest import until

PATIENCE_SECONDS = 240


@pytest.fixture(scope="package")
def addons(shared_lab: Lab) -> Iterator[None]:
    """The cluster has all add-ons; afterwards nothing is left of them, not even an address in an Ingress that stays."""
    lab, before = shared_lab, traces(shared_lab)
    assert installed(lab) == set()
    change(lab, baked(lab.client))
    assert traces(lab) > before
    yield
    # A removal takes the address from Ingresses that stay.
    apply(lab, ingress("stays", rule("stays.example", path("/", "closed", 80))))
    try:
        until("an Ingress has the address", lambda: addresses(lab, "stays") or None, seconds=PATIENCE_SECONDS)
        change(lab, ())
        until("nothing is left", lambda: traces(lab) <= before or None, seconds=PATIENCE_SECONDS, pause=2)
        assert addresses(lab, "stays") == []
    finally:
        lab.kubectl("delete", "ingress", "stays")


@pytest.fixture(autouse=True)
def addon(request: pytest.FixtureRequest, addons: None, shared_lab: Lab) -> None:
    """The module's add-on works: a test may have removed it."""
    if (name := request.module.ADDON) not in (there := installed(shared_lab)):
        change(shared_lab, {*there, name})
