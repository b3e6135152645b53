"""Real virtual machines of the `bare` image, through a real service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dayfly.client import Client
from tests.support.evidence import pytest_runtest_makereport, pytest_runtest_setup  # noqa: F401 (hooks)
from tests.support.service import Service, running_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service that tests share unless they need their own."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client
