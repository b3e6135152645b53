"""The progress on a terminal while a cluster is created."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from dayfly.cli.progress import live
from dayfly.cli.progress.cluster import ClusterView
from dayfly.client import Client, Cluster, Step
from dayfly.schemas.base import FROM_SERVER


@pytest.fixture
def cluster(url: str) -> Cluster:
    with Client(url) as client:
        return client.create(image="bare")


@pytest.fixture
def draw(cluster: Cluster) -> Callable[[ClusterView], str]:
    def text(picture: ClusterView) -> str:
        console = Console(file=io.StringIO(), width=100, force_terminal=False)
        console.print(picture.render())
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return text


def step(cluster: Cluster, **changes: object) -> Step:
    fields = {"name": "boot", "node": "node01", "state": "running", "attempt": 1, "seconds": 61.0, "detail": ""}
    return Step.model_validate({**fields, "started_at": cluster.created_at, **changes}, context=FROM_SERVER)


def test_each_step_with_its_node_state_and_time(cluster: Cluster, draw: Callable[[ClusterView], str]) -> None:
    now = 100.0
    picture = ClusterView(live.Console(stderr=True), cluster, lambda: now)
    done = step(cluster, name="sandbox", node=None, state="done", seconds=1.5, finished_at=cluster.created_at)
    steps = (done, step(cluster, attempt=2, detail="no SSH yet"))
    # The server may have admitted the cluster already.
    queued = {"phase": "pending", "queue_position": 3}
    picture.show(cluster.model_copy(update={"steps": steps, **queued}))
    now = 110.0
    lines = [line.rstrip() for line in draw(picture).splitlines()]
    assert lines[1].split() == ["-", "sandbox", "done", "1.5", "s"]
    assert lines[2].split(maxsplit=5) == ["node01", "boot", "running,", "attempt", "2", "1 min 11 s  no SSH yet"]
    assert f"{cluster.name}: pending (#3), 10.0 s" in lines[3]


def test_markup_of_a_guest_is_only_text(cluster: Cluster, draw: Callable[[ClusterView], str]) -> None:
    picture = ClusterView(live.Console(stderr=True), cluster)
    picture.show(cluster.model_copy(update={"steps": (step(cluster, detail="[/red] [bold]x"),)}))
    assert "[/red] [bold]x" in draw(picture)
