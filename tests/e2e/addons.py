"""Add-ons of the end-to-end tests' cluster, requested while it runs. Not here: tests of add-ons (test_metrics.py)."""

from __future__ import annotations

import time
from typing import Final

from tests.e2e.lab import Lab
from tests.support.guest import until

INSTALL_SECONDS: Final = 300


def install(lab: Lab, addon: str) -> None:
    """Returns when `addon`, the cluster's only one, is ready."""
    _request(lab, [addon], addon, "ready")


def remove(lab: Lab, addon: str) -> None:
    """Returns when the cluster has no add-on."""
    _request(lab, [], addon, None)


def _request(lab: Lab, addons: list[str], addon: str, state: str | None) -> None:
    """Request the whole list of add-ons; returns when `addon` is in `state` (None: no longer listed)."""
    began = time.monotonic()
    lab.client.change(lab.cluster.id, addons=addons)

    def look() -> bool | None:
        found = {one.name: one for one in lab.client.get(lab.cluster.id).addons}
        assert all(one.error is None for one in found.values()), found
        return True if (found[addon].state if addon in found else None) == state else None

    until(f"{addon} is {state}", look, seconds=INSTALL_SECONDS, pause=1)
    print(f"add-ons {addons} after {time.monotonic() - began:.0f} s")
    assert lab.client.get(lab.cluster.id).phase == "ready"
