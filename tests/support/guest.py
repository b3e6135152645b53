"""Accesses nodes with OpenSSH's client, as users do; waits for templates and pools."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dayfly.cli.cluster_ssh import ssh_argv
from dayfly.client import Client, SshAccess, Template

T = TypeVar("T")

JUNK = """\
echo junk >/root/junk; mkdir -p /opt/junk; rm -f /etc/hostname; echo junk >/etc/issue
size=4194304 number=0
while [ $size -ge 64 ]; do
    if fallocate -l ${size}k /root/filler$number 2>/dev/null; then number=$((number+1)); else size=$((size/2)); fi
done
if dd if=/dev/zero of=/root/more bs=1M count=1 2>/dev/null; then echo not full; fi"""
"""Changes that a reset must undo: new, changed and removed files, and a full disk. Prints `not full` otherwise."""
FINGERPRINT = "ls -A /root /opt; cat /etc/hostname /etc/issue /etc/machine-id"
"""Prints the same of a pristine node each time."""

_LET_GO_SECONDS = 0.5


def try_on_guest(access: SshAccess, command: str, *, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """`command` in the node's shell, however it ends; ssh's own failure is the exit code 255."""
    with tempfile.TemporaryDirectory(prefix="dayfly-ssh-") as folder:
        argv = ssh_argv("ssh", access, [command], Path(folder))
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )


def on_guest(client: Client, cluster: str, command: str, *, node: str = "node01", timeout: float = 90) -> str:
    """The output of `command` on a node."""
    done = try_on_guest(client.ssh(cluster, node), command, timeout=timeout)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def until(what: str, look: Callable[[], T | None], *, seconds: float, pause: float = 0.2) -> T:
    """The first thing that `look` finds. Raises AssertionError where it finds nothing in time."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return found


def ready_template(client: Client, template_id: str, *, seconds: float) -> Template:
    """The template, once its first fork has verified it."""

    def look() -> Template | None:
        seen = client.template(template_id)
        assert seen.phase in {"building", "verifying", "ready"}, f"{seen.phase}: {seen.error}"
        return seen if seen.phase == "ready" else None

    return until(f"the template {template_id} is ready", look, seconds=seconds)


def filled_pool(client: Client, name: str, members: int, *, seconds: float) -> None:
    """Returns when so many members of the pool wait for callers."""
    until(
        f"{members} wait in the pool {name}",
        lambda: client.pool(name).ready >= members or None,
        seconds=seconds,
    )
    # A worker still holds a member that has just become ready, so no request can claim the member.
    time.sleep(_LET_GO_SECONDS)
