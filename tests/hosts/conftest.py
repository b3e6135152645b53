"""Hosts of other Debians and engines, each with Dayfly installed and the image `bare` loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.hosts.kinds import KINDS, SHORT, HostKind
from tests.hosts.namespaced_host import NamespacedHost, namespaced_host
from tests.hosts.roots import copy_sources, host_folders
from tests.support.service import docker

INSTALL_SECONDS: Final = 600


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        names = [name for name, kind in KINDS.items() if kind.engine] if metafunc.config.getoption("long") else [SHORT]
        metafunc.parametrize("kind", [KINDS[name] for name in names], ids=names, scope="module")


@pytest.fixture(scope="session")
def bare_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dayfly/bare:latest` of this machine's engine, as a docker-archive."""
    archive = tmp_path_factory.mktemp("image") / "bare.tar"
    docker("image", "save", "--output", str(archive), "dayfly/bare:latest", timeout=300)
    return archive


@pytest.fixture(scope="module")
def host(kind: HostKind, bare_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespacedHost]:
    """A running host of `kind`. Its command `dayfly` is /opt/dayfly/bin/dayfly."""
    with _running(kind, tmp_path_factory.mktemp("host") / "host.log") as host:
        copy_sources(host.files / "opt/source")
        host.run("python3", "-m", "venv", "/opt/dayfly", timeout=INSTALL_SECONDS)
        host.run("/opt/dayfly/bin/pip", "install", "-q", "/opt/source[server]", timeout=INSTALL_SECONDS)
        host.load_image(bare_archive)
        yield host


@contextmanager
def _running(kind: HostKind, log: Path) -> Iterator[NamespacedHost]:
    with asyncio.Runner() as runner:
        folders = host_folders(kind)
        root, scratch = runner.run(folders.__aenter__())
        try:
            with namespaced_host(kind, root, scratch, log=log) as host:
                yield host
        finally:
            runner.run(folders.__aexit__(None, None, None))
