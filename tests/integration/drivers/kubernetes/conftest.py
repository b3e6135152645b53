"""A fake API server, and an administrator's access to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.drivers.interfaces import KubeAccess
from dayfly.drivers.kubernetes.client import KubeClient
from tests.support.kube_server import KubeServer, running_kube_server


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[KubeServer, KubeAccess]]:
    async with running_kube_server(tmp_path) as served:
        yield served


@pytest.fixture
def server(served: tuple[KubeServer, KubeAccess]) -> KubeServer:
    return served[0]


@pytest.fixture
def access(served: tuple[KubeServer, KubeAccess]) -> KubeAccess:
    return served[1]


@pytest.fixture
def kube() -> KubeClient:
    return KubeClient()
