"""A caller's bounds on one cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dayfly.api.clusters.bounds import check_hold, check_size, check_ttl
from dayfly.domain.cluster.model import Hold
from dayfly.domain.image import NodeSize
from dayfly.domain.security.principal import UNBOUNDED, Bounds
from dayfly.errors import OverBounds
from tests.support.specs import make_spec

SIZES = {
    "control_plane": NodeSize(vcpus=2, memory_mib=2048, disk_gib=10),
    "worker": NodeSize(vcpus=1, memory_mib=1024, disk_gib=5),
}
SPEC = make_spec(workers=2).model_copy(update=SIZES)
EXACT = Bounds(max_nodes=3, max_vcpus=4, max_memory_mib=4096, max_disk_gib=20)


def test_a_cluster_may_be_as_large_as_the_bounds() -> None:
    check_size(EXACT, SPEC)
    check_size(UNBOUNDED, SPEC)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Bounds(max_nodes=2), "3 nodes, and your token allows at most 2"),
        (Bounds(max_vcpus=3), "4 vCPUs, and your token allows at most 3"),
        (Bounds(max_memory_mib=4095), "4096 MiB of memory, and your token allows at most 4095"),
        (Bounds(max_disk_gib=19), "20 GiB of disk, and your token allows at most 19"),
    ],
)
def test_a_larger_one_is_refused(bounds: Bounds, message: str) -> None:
    with pytest.raises(OverBounds, match=message):
        check_size(bounds, SPEC)


@pytest.mark.parametrize("seconds", [None, 61])
def test_a_longer_time_to_live_is_refused(seconds: int | None) -> None:
    check_ttl(UNBOUNDED, seconds)
    check_ttl(Bounds(max_ttl_seconds=60), 60)
    with pytest.raises(OverBounds, match="ttl_seconds: your token allows at most 60"):
        check_ttl(Bounds(max_ttl_seconds=60), seconds)


def test_a_hold_that_would_outlive_the_longest_time_to_live_is_refused() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    exact, longer = (Hold(began + timedelta(seconds=seconds), "look", "running") for seconds in (60, 61))
    check_hold(UNBOUNDED, longer, began)
    for hold in (None, exact):
        check_hold(Bounds(max_ttl_seconds=60), hold, began)
    with pytest.raises(OverBounds, match=r"hold: .* at most 60 s, and so a hold until 2026-01-01 00:01:00 UTC"):
        check_hold(Bounds(max_ttl_seconds=60), longer, began)
