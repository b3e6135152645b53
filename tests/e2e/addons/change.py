"""Changes of the add-ons of the end-to-end tests' cluster, and what they leave there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.e2e.claims import folders
from tests.e2e.lab import NODES, Lab
from tests.support.guest import until

CHANGE_SECONDS: Final = 300
TRACE_SECONDS: Final = 240
"""Controllers delete what deleted objects owned."""
_KINDS: Final = (
    "serviceaccounts,secrets,configmaps,services,endpoints,endpointslices,deployments,replicasets,daemonsets,"
    "controllerrevisions,pods,persistentvolumeclaims,roles,rolebindings"
)
_CLUSTER_KINDS: Final = "clusterroles,clusterrolebindings,ingressclasses,storageclasses,apiservices,persistentvolumes"


def installed(lab: Lab) -> set[str]:
    """The add-ons that work."""
    return {one.name for one in lab.client.get(lab.cluster.id).addons if one.state == "ready"}


def change(lab: Lab, *addons: str) -> None:
    """Returns when these add-ons work, and nothing else is listed."""
    wanted, began = set(addons), time.monotonic()
    lab.client.change(lab.cluster.id, addons=sorted(wanted))

    def look() -> bool | None:
        found = {one.name: one for one in lab.client.get(lab.cluster.id).addons}
        assert all(one.error is None for one in found.values()), found
        return (found.keys() == wanted and installed(lab) == wanted) or None

    until(f"the add-ons are {wanted}", look, seconds=CHANGE_SECONDS, pause=1)
    print(f"add-ons {sorted(wanted)} after {time.monotonic() - began:.0f} s")
    assert lab.client.get(lab.cluster.id).phase == "ready"


@contextmanager
def working(lab: Lab, addon: str) -> Iterator[None]:
    """The cluster has the add-on; afterwards nothing is left of it."""
    before = traces(lab)
    assert installed(lab) == set()
    change(lab, addon)
    assert traces(lab) > before
    yield
    change(lab)
    until("nothing is left", lambda: traces(lab) <= before or None, seconds=TRACE_SECONDS, pause=2)


def traces(lab: Lab) -> set[str]:
    """All objects of the system and of the whole cluster, by name, and the directories of volumes on all nodes."""
    found = lab.kubectl("get", _KINDS, "-n", "kube-system", "-o", "name")
    found += lab.kubectl("get", _CLUSTER_KINDS, "-o", "name")
    return {*found.split(), *(f"{node}:{name}" for node in NODES for name in folders(lab, node))}
