"""The command line against a server on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.client import Client
from tests.support.api import Infrastructure, served

Dayfly = Callable[..., Result]


@pytest.fixture(autouse=True)
def _same_logging() -> Iterator[None]:
    """A command on the server configures the logging of its process, which is that of all tests here."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("server"), Infrastructure()) as found:
        yield found


@pytest.fixture
def dayfly(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dayfly]:
    """`dayfly ARGUMENTS`, with its exit code and streams. No test leaves a cluster: the next needs its memory."""
    monkeypatch.setenv("DAYFLY_URL", url)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    yield run
    with Client(url) as client:
        for cluster in client.list():
            client.delete(cluster.id)
