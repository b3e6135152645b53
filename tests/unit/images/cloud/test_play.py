"""Ansible over SSH: real OpenSSH and Ansible, against a server in this process that runs commands on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from dayfly import assets
from dayfly.errors import BakeFailed
from dayfly.images.cloud.play import run_plays
from tests.support.ssh_server import Server

PLAY = """\
- name: A play
  hosts: all
  gather_facts: false
  tasks:
    - name: Leave a mark
      ansible.builtin.raw: echo "{{ text }} {{ other }}" > {{ mark }}
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.stop()


def play(folder: Path, text: str = PLAY) -> Path:
    path = folder / "play.yaml"
    path.write_text(text)
    return path


async def run(server: Server, path: Path, **variables: str) -> list[str]:
    more = path.with_name("more.yaml")
    more.write_text("other: of a file\n")
    lines: list[str] = []
    await run_plays(server.target, [path], variables, root=assets.provisioning(), files=[more], on_line=lines.append)
    return lines


async def test_a_play_runs_over_ssh_with_its_variables_and_leaves_no_process(server: Server, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    lines = await run(server, play(tmp_path), text="hello", mark=str(mark))
    assert mark.read_text() == "hello of a file\n"
    assert any("Leave a mark" in line for line in lines)
    async with asyncio.timeout(10):
        # OpenSSH's background process had one connection for all tasks, and ended with the play.
        for connection in server.connections:
            await connection.wait_closed()
    assert server.logins == 1


async def test_another_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    target = replace(server.target, host_public_key=other)
    with pytest.raises(BakeFailed, match="ansible-playbook ended with exit code") as caught:
        await run_plays(
            target, [play(tmp_path)], {"mark": "/nowhere", "text": "", "other": ""}, root=assets.provisioning()
        )
    assert "verification failed" in caught.value.evidence["output"]
    assert server.logins == 0


async def test_a_failed_task_has_ansibles_output_as_evidence(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BakeFailed, match="exit code 2") as caught:
        await run(server, play(tmp_path, PLAY.replace("echo", "no-such-program")), text="x", mark="/dev/null")
    assert "no-such-program" in caught.value.evidence["output"]
    assert "PRIVATE KEY" not in str(caught.value.evidence)
