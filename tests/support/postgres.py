"""A real PostgreSQL server of the tests' own: on a unix socket in a temporary folder, run by an ordinary user."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
ROLE = "dayfly"


@dataclass(frozen=True)
class PostgresServer:
    """A running server. `folder` holds its socket."""

    folder: Path
    programs: Path

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://{ROLE}@/{database}?host={self.folder}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database; its URL. Dropped afterwards, whoever is still connected."""
        name = f"test_{secrets.token_hex(6)}"
        self._run("createdb", name)
        try:
            yield self.url(name)
        finally:
            self._run("dropdb", "--force", name)

    def _run(self, program: str, *arguments: str) -> None:
        argv: list[str | Path] = [self.programs / program, f"--host={self.folder}", f"--username={ROLE}", *arguments]
        subprocess.run(argv, check=True, timeout=START_SECONDS)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Make a server, start it, and leave nothing of it."""
    programs = _programs()
    # Not pytest's temporary folder: its path is too long for a socket, and closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="dayfly-pg-"))
    as_user = _as_ordinary_user(folder)
    data = folder / "data"
    try:
        initdb: list[str | Path] = [
            programs / "initdb",
            "--auth=trust",
            f"--username={ROLE}",
            "--no-sync",
            "--encoding=UTF8",
            data,
        ]
        subprocess.run([*as_user, *initdb], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=START_SECONDS)
        # Nothing here must survive a power cut.
        durability = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
        options = [f"--{option}" for option in (*durability, "listen_addresses=", f"unix_socket_directories={folder}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, programs / "postgres", "-D", data, *options], cwd=folder, stderr=log, stdout=log
            )
        try:
            _wait_until_ready(programs, folder, server)
            yield PostgresServer(folder, programs)
        finally:
            server.send_signal(signal.SIGINT)  # "fast": ends sessions instead of waiting for them
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of a server's programs: Debian's newest, or that of the `initdb` on the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(found).resolve().parent


def _as_ordinary_user(folder: Path) -> tuple[str, ...]:
    """The start of an argv that gives up root, which PostgreSQL refuses to run as; `folder` becomes that user's."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


def _wait_until_ready(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    probe: list[str | Path] = [programs / "pg_isready", "--quiet", f"--host={folder}", f"--username={ROLE}"]
    while subprocess.run(probe, check=False, timeout=START_SECONDS).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        time.sleep(0.05)
