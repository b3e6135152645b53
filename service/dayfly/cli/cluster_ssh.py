"""`dayfly cluster ssh`: runs OpenSSH's client with a temporary key and a pinned host key."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dayfly.cli.errors import CommandError
from dayfly.client import SshAccess


def run_ssh(access: SshAccess, command: Sequence[str]) -> int:
    """Run `command`, or a shell, on the node; the exit code (255: a failure of ssh itself, as with ssh)."""
    program = shutil.which("ssh")
    if program is None:
        raise CommandError("ssh_missing", "the program `ssh` is not installed", "install OpenSSH's client")
    with tempfile.TemporaryDirectory(prefix="dayfly-ssh-") as folder:  # mode 0700
        argv = ssh_argv(program, access, command, Path(folder))
        # Ctrl-C is for the remote side: this process must survive it to remove the private key.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            restore = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
            process = subprocess.Popen(argv, preexec_fn=restore)  # noqa: PLW1509 - no threads here
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def ssh_argv(program: str, access: SshAccess, command: Sequence[str], folder: Path) -> list[str]:
    """ssh's argv. Writes the identity and the known host into `folder`, mode 0600."""
    identity, known_hosts = folder / "identity", folder / "known_hosts"
    for path, text in ((identity, access.private_key), (known_hosts, access.known_hosts)):
        path.touch(mode=0o600)
        path.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    options = {
        "IdentityFile": identity,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
    }
    pairs = [argument for key, value in options.items() for argument in ("-o", f"{key}={value}")]
    # No configuration file: a user's jump hosts and options for 127.0.0.1 do not apply to nodes.
    # After `--` neither the host nor the command is taken for an option.
    where = ("-p", str(access.port), "-l", access.username, "--", access.host)
    return [program, "-F", "none", *pairs, *where, *command]
