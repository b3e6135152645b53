"""Ansible over SSH: runs plays on the machine of a bake, by OpenSSH with the bake's own keys and nothing of the user's.

Not here: which plays, and what they read (provision.py). All of it runs in a sandbox, whose end also ends OpenSSH's
background process.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dayfly.drivers.interfaces import SshTarget
from dayfly.images.process import SANDBOX, run
from dayfly.images.rootfs import OnLine

_TIMEOUT_SECONDS: Final = 120
"""Of a login, as in drivers/ssh.py: an emulated guest under load is slow."""
_PERSIST: Final = "-o ControlMaster=auto -o ControlPersist=3600"
"""One login for all tasks."""


async def run_plays(
    target: SshTarget,
    plays: Sequence[Path],
    variables: Mapping[str, Any],
    *,
    root: Path,
    files: Sequence[Path] = (),
    on_line: OnLine | None = None,
) -> None:
    """Run `plays` one after the other on `target`. `files`: YAML with further variables. `root`: provisioning/.

    Raises BakeFailed with Ansible's last lines, DiskFull.
    """
    # Not in the cache: the path of a socket has a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="dayfly-play.") as name:
        work = Path(name)
        argv: list[str | Path] = [*SANDBOX, sys.executable, "-m", "ansible", "playbook"]
        argv += ["--inventory", _inventory(target, work), "--extra-vars", json.dumps(dict(variables))]
        for file in files:
            argv += ["--extra-vars", f"@{file}"]
        await run(
            [*argv, *plays],
            name="ansible-playbook",
            environment=_environment(root, work),
            folder=work,
            on_line=on_line,
        )


def _inventory(target: SshTarget, work: Path) -> Path:
    key, known = work / "key", work / "known_hosts"
    key.touch(mode=0o600)
    key.write_text(target.private_key)
    known.write_text(f"[{target.host}]:{target.port} {target.host_public_key}\n")
    options = {
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ServerAliveInterval": "30",
        "ServerAliveCountMax": "6",
    }
    arguments = ["-F", "/dev/null", *(f"-o{option}={value}" for option, value in options.items())]
    host = {
        "ansible_connection": "ssh",
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_user": target.username,
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": shlex.join(arguments),
    }
    inventory = work / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"node": host}}}))
    return inventory


def _environment(root: Path, work: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(root / "ansible" / "ansible.cfg"),
        "ANSIBLE_HOME": str(work),
        "ANSIBLE_LOCAL_TEMP": str(work / "tmp"),
        "ANSIBLE_SSH_ARGS": _PERSIST,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(work / "cp"),
        "ANSIBLE_TIMEOUT": str(_TIMEOUT_SECONDS),
        "ANSIBLE_FORCE_COLOR": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
