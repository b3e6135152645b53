"""The doctor's check of the registry caches."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dayfly.doctor.registry_caches import check_registry_caches
from dayfly.domain.cluster.naming import LABEL_ROLE, caches_container, caches_labels
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import EngineUnavailable
from dayfly.settings import Settings
from dayfly.testing.fakes import FakeContainer, FakeEngine

SETTINGS = Settings(registry_caches=("docker.io", "quay.io=http://mirror.example"))
NAME = caches_container("default")


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine(instance="default")
    engine.plant("container", NAME, caches_labels("default") | {LABEL_ROLE: "cache"})
    return engine


def says(engine: FakeEngine, output: str) -> None:
    def run(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
        assert container.spec.name == NAME
        assert list(argv[-2:]) == [cache.socket for cache in SETTINGS.caches]
        return ExecResult(0, output.encode(), b"")

    engine.on_exec(run)


async def test_caches_that_serve_are_told_with_their_size(engine: FakeEngine) -> None:
    says(engine, f"{3 * 2**19}\n")
    check = await check_registry_caches(SETTINGS, engine)
    assert (check.status, check.found, check.advice) == ("ok", "docker.io, quay.io; 1.5 of 20 GiB", "")


async def test_a_cache_without_a_socket_is_named_with_its_upstream(engine: FakeEngine) -> None:
    says(engine, "12\n/run/dayfly-caches/quay.io.sock\n")
    check = await check_registry_caches(SETTINGS, engine)
    assert (check.status, check.found) == ("warn", "not serving: quay.io (http://mirror.example)")
    assert NAME in check.advice


async def test_a_container_that_does_not_run_and_an_engine_that_is_down_are_warnings(engine: FakeEngine) -> None:
    engine.exit(NAME)
    check = await check_registry_caches(SETTINGS, engine)
    assert (check.status, check.found) == ("warn", f"container {NAME} does not run")
    engine.fail_next("list_containers", EngineUnavailable("Cannot connect to Docker Engine"))
    check = await check_registry_caches(SETTINGS, engine)
    assert (check.status, check.found) == ("warn", "Cannot connect to Docker Engine")
