"""A Debian 13 host with systemd as the first process and control groups of version 2."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dayfly.settings import Settings
from tests.hosts.namespaced_host import namespaced_host
from tests.hosts.roots import host_folders
from tests.hosts.systemd.disk import KIND, make_disk
from tests.hosts.systemd.machine import Trial, run_trial


@pytest.fixture(scope="session")
def trial(bare_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The host's report, from its first boot to its end."""
    return asyncio.run(_trial(bare_archive, tmp_path_factory.mktemp("systemd")))


async def _trial(bare: Path, folder: Path) -> Trial:
    # The bases of the lab stack's images are kept there.
    cache = Settings().cache_dir / "host-homes" / KIND.name
    async with host_folders(KIND) as (root, scratch):
        with namespaced_host(KIND, root, scratch, log=folder / "host.log", cache=cache) as host:
            await asyncio.to_thread(make_disk, host, bare)
            return await asyncio.to_thread(run_trial, host, folder)
