"""The verification of a baked image: the cluster of one node, the commands of its manifest, a conformance list."""

from __future__ import annotations

import pytest

from dayfly.app import STEPS
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.image import ImageManifest
from dayfly.drivers.interfaces import Drivers
from dayfly.errors import ConformanceFailed
from dayfly.steps.conformance import FAILURES, REPORT
from dayfly.store import Store
from dayfly.verification import Verifier
from tests.support.conformance import ONE, TWO, ConformanceProgram
from tests.support.specs import make_spec
from tests.support.world import World

IMAGE_ID = make_spec().image_id
MANIFEST = make_spec(kubernetes=True, conformance=(ONE,)).manifest


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.fixture
def program(world: World) -> ConformanceProgram:
    return ConformanceProgram().installed(world.ssh)


async def verify(world: World, manifest: ImageManifest = MANIFEST, **options: tuple[str, ...] | None) -> list[str]:
    drivers = Drivers(world.engine, world.ssh, world.kube, world.machines)
    publication = Publication("127.0.0.1", None)
    verifier = Verifier("default", drivers, STEPS, "tcg", publication, world.clock)
    said: list[str] = []
    await verifier(IMAGE_ID, manifest, said.append, **options)
    return said


async def test_a_list_runs_only_if_it_is_asked_for(world: World, program: ConformanceProgram) -> None:
    assert "step conformance" not in await verify(world)
    assert program.started == []
    said = await verify(world, conformance=(TWO,))
    assert said.index("step ready") < said.index("step conformance")
    assert program.started == [(TWO,)]
    assert MANIFEST.kubernetes is not None
    assert MANIFEST.kubernetes.conformance is not None
    program.runs.clear()  # of the machine that is gone
    await verify(world, conformance=())
    assert program.started[1:] == [MANIFEST.kubernetes.conformance.specs], "the short list of the image"
    assert not world.engine.containers


async def test_a_failed_spec_fails_the_verification_with_its_evidence(
    world: World, program: ConformanceProgram
) -> None:
    program.outcomes[TWO] = "failed"
    with pytest.raises(ConformanceFailed, match="1 of 2 conformance specs failed") as caught:
        await verify(world, conformance=(ONE, TWO))
    assert caught.value.evidence[FAILURES] == f"{TWO}: it broke\n"
    assert caught.value.evidence[REPORT].startswith("<testsuite")
    assert not world.engine.containers


async def test_an_image_without_tests_cannot_pass(world: World, program: ConformanceProgram) -> None:
    with pytest.raises(ConformanceFailed, match="no conformance tests"):
        await verify(world, make_spec(kubernetes=True).manifest, conformance=())
    assert program.started == []
