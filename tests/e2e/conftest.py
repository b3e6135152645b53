"""One real Kubernetes cluster for all end-to-end tests of a module: it takes minutes to make under emulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.lab import Lab, engine_lists, lab_of
from tests.support.postgres import postgres_server
from tests.support.service import running_service


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and a worker, made by an API and two workers on PostgreSQL; at the end not a trace of them."""
    before = engine_lists()
    processes = ("api", "worker", "worker")
    with (
        postgres_server() as server,
        server.database() as url,
        running_service(tmp_path_factory.mktemp("e2e"), commands=processes, database_url=url) as service,
        lab_of(service, "e2e") as lab,
    ):
        yield lab
    assert engine_lists() == before


@pytest.fixture(scope="module")
def web(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Deployment with a pod on each node: node → pod's address."""
    return lab.deploy_web(tmp_path_factory.mktemp("web"))
