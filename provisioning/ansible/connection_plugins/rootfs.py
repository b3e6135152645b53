"""An Ansible connection to an unpacked root file system: commands run in a chroot, files are copied.

The play's caller has mounted /proc, /sys and /dev there, in a mount namespace that ends with the play (see base/enter).
For a booted machine use Ansible's `ssh` connection; roles do not depend on the connection.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: rootfs
short_description: Run tasks in an unpacked root file system
description: Commands run in a chroot of the inventory's host, which is the folder's path.
author: Dayfly
options:
  remote_addr:
    description: The folder that holds the root file system.
    vars:
      - name: ansible_host
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Connection(ConnectionBase):  # type: ignore[misc]
    """Runs commands in, and copies files into, the folder `remote_addr`."""

    transport = "rootfs"
    has_pipelining = True

    def _connect(self) -> Connection:
        if not (self._root / "bin").exists():
            raise AnsibleError(f"{self._root} holds no root file system")
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Exit code, standard output, standard error of a shell command."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = subprocess.run(
            ["chroot", str(self._root), "/bin/sh", "-c", cmd],
            input=in_data or b"",
            capture_output=True,
            check=False,
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
        )
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy from the machine that runs the play."""
        super().put_file(in_path, out_path)
        shutil.copyfile(in_path, self._inside(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy to the machine that runs the play."""
        super().fetch_file(in_path, out_path)
        shutil.copyfile(self._inside(in_path), out_path)

    def close(self) -> None:
        """Mark the connection as closed; it holds no resources."""
        self._connected = False

    @property
    def _root(self) -> Path:
        return Path(self._play_context.remote_addr)

    def _inside(self, path: str) -> Path:
        return self._root / path.lstrip("/")
