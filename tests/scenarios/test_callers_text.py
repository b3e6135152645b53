"""No answer of the API about a failed cluster contains text of the engine."""

from __future__ import annotations

import io
import tarfile

import pytest
import structlog
from aiodocker.exceptions import DockerError

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.drivers.docker.errors import translate
from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure
from tests.support.specs import make_spec
from tests.support.world import World

MARKED = "dial tcp 10.9.8.7:22"


def unpacked(bundle: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as tar:
        return "".join(file.read().decode() for member in tar.getmembers() if (file := tar.extractfile(member)))


@pytest.mark.parametrize("method", ["ensure", "list_containers"])
@pytest.mark.parametrize("status", [400, 409, 500])
async def test_a_failed_cluster_shows_no_text_of_the_engine(store: Store, method: str, status: int) -> None:
    world = World(store)
    error = translate(DockerError(status, MARKED), "container x")
    world.engine.fail_always(error, method)
    async with world.working():
        cluster = await world.create(make_spec())
        failed = await world.until(cluster, Phase.FAILED)
        world.engine.heal()
    assert failed.fault is not None
    assert error.message in failed.fault.message
    async with ApiHttp(Infrastructure().services(store)) as http:
        shown = [await http.get(f"/v1/clusters/{cluster.id}{part}") for part in ("", "/events", "/steps")]
        bundle = unpacked((await http.get(f"/v1/clusters/{cluster.id}/diagnostics")).content)
    assert error.message in shown[0].text + bundle
    assert MARKED not in "".join(answer.text for answer in shown) + bundle


@pytest.mark.parametrize(
    ("status", "sentence", "problem"),
    [(500, "the engine reported an error, HTTP 500", 502), (900, "the engine cannot be reached", 503)],
)
async def test_problems_show_no_text_of_the_engine(store: Store, status: int, sentence: str, problem: int) -> None:
    outside = Infrastructure()
    with structlog.testing.capture_logs() as lines:
        error = translate(DockerError(status, MARKED), "image x")
        outside.images.broken = outside.engine.error = error
        async with ApiHttp(outside.services(store)) as http:
            answers = [
                await http.post("/v1/clusters", json={"image": "bare"}),
                await http.get("/readyz"),
                await http.get("/v1/status"),
            ]
    assert [answer.status_code for answer in answers] == [problem, 503, 200]
    assert f"image x: {sentence}" in answers[0].text
    assert MARKED not in "".join(answer.text for answer in answers)
    assert any(line["event"] == f"image x: {sentence}" and line["details"] == MARKED for line in lines)
