"""Runs a command on a new host of another Debian, in a new clone of the committed state. For developers.

python -m tests.hosts.enter debian13-bare -- deploy/quickstart.sh
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from tests.hosts.kinds import KINDS
from tests.hosts.namespaced_host import namespaced_host
from tests.hosts.roots import REPO, host_folders


async def enter(name: str, command: list[str], *, keep_cache: Path | None) -> int:
    """Run `command` on a host of that kind to its end; its exit code. `keep_cache` becomes the host's ~/.cache."""
    async with host_folders(KINDS[name]) as (root, scratch):
        # Copy into the host's changes: git refuses a path through another root.
        clone = ["git", "clone", "--quiet", str(REPO), str(scratch / "upper/root/dayfly")]
        await asyncio.to_thread(subprocess.run, clone, check=True)
        with namespaced_host(KINDS[name], root, scratch, log=scratch / "host.log", cache=keep_cache) as host:
            argv = host.command("env", "-C", "/root/dayfly", *command)
            return await asyncio.to_thread(subprocess.call, argv, stdin=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command on a fresh host of another Debian.")
    parser.add_argument("--cache", type=Path, help="a folder of this machine that is the host's ~/.cache, and stays")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    return asyncio.run(enter(given.kind, given.command, keep_cache=given.cache))


if __name__ == "__main__":
    sys.exit(main())
