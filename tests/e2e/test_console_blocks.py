"""README's console blocks produce the shown output, with real clusters."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from dayfly.client import Client, ClusterSummary, Template
from tests.e2e.lab import PATIENCE_SECONDS, others_hibernate
from tests.e2e.reader import REPO, Reader, readme_blocks, template_command
from tests.support.console_blocks import Command
from tests.support.service import Service

pytestmark = pytest.mark.kubernetes


def test_readmes_sessions(service: Service, template: Template, tmp_path: Path) -> None:
    """But for its two commands, the first block: they are this suite, and what tests/hosts runs.

    The fixture `template` has run the command that makes the template.
    """
    two_commands, *sessions = readme_blocks()
    for command in two_commands:
        assert os.access(REPO / command.text.split()[0], os.X_OK)
    assert len(sessions) == 4
    reader = Reader(service, tmp_path)
    with others_hibernate(service):
        try:
            for commands in sessions:
                run_all(reader, [command for command in commands if command != template_command()])
        finally:
            remove_all(service, template)


def run_all(reader: Reader, commands: Sequence[Command]) -> None:
    """Each of the commands; `heartbeat` runs beside the others until the cluster is deleted."""
    with ExitStack() as beside:
        for command in commands:
            if " heartbeat " in command.text:
                beside.enter_context(reader.running(command))
                continue
            if " delete " in command.text:
                beside.close()
            reader.run(command)


def remove_all(service: Service, template: Template) -> None:
    """All that README's reader made, and the template of the pool."""
    with Client(service.url) as client:
        for pool in client.pools():
            client.delete_pool(pool.id)
        for cluster in clusters(client):
            client.delete(cluster.id)
        for other in templates(client, template):
            client.delete_template(other.id)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while clusters(client) or templates(client, template) or client.pools():
            assert time.monotonic() < deadline, service.objects()
            time.sleep(1)


def clusters(client: Client) -> list[ClusterSummary]:
    return [cluster for cluster in client.list() if cluster.name.startswith("ci-")]


def templates(client: Client, but: Template) -> list[Template]:
    return [template for template in client.templates() if template.id != but.id]
