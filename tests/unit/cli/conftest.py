"""The command line against a server on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.client import Client
from tests.support.api import Infrastructure, served
from tests.support.service import Service, free_port

Dayfly = Callable[..., Result]
INFRASTRUCTURE = Infrastructure()
"""Of the server of each module."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("server"), INFRASTRUCTURE) as found:
        yield found


@pytest.fixture
def dayfly(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dayfly]:
    """`dayfly ARGUMENTS`, with its exit code and streams. No test leaves a cluster: others need its memory and name."""
    monkeypatch.setenv("DAYFLY_URL", url)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    yield run
    monkeypatch.undo()  # some tests break the client
    with Client(url) as client:
        clusters = client.list()
        for cluster in clusters:
            client.delete(cluster.id)
        for cluster in clusters:
            client.wait_deleted(cluster.id)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A new state folder, an engine that does not answer, and no process yet."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DAYFLY_")},
        "DAYFLY_STATE_DIR": str(tmp_path / "state"),
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_URL": url,
        "DAYFLY_LOOPBACK_IS_OPERATOR": "true",
        "DAYFLY_DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock",
    }
    made = Service(url, "default", tmp_path, environment)
    yield made
    for process in made.processes:
        process.end()
