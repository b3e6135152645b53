"""A real PostgreSQL server for tests: on a unix socket in a temporary folder, as an ordinary user."""

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


@dataclass
class PostgresServer:
    """A server. `folder` holds its socket and its data."""

    folder: Path
    programs: Path
    as_user: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://{ROLE}@/{database}?host={self.folder}"

    def start(self) -> None:
        """Returns when it answers."""
        # Nothing here must survive a power cut; a killed server loses nothing, for the kernel has it all.
        durability = ("fsync=off", "full_page_writes=off")
        options = [
            f"--{option}" for option in (*durability, "listen_addresses=", f"unix_socket_directories={self.folder}")
        ]
        argv: list[str | Path] = [*self.as_user, self.programs / "postgres", "-D", self.folder / "data", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=self.folder, stderr=log, stdout=log)
        _wait_until_ready(self.programs, self.folder, self._process)

    def kill(self) -> None:
        """SIGKILL to the server and all its sessions at once."""
        if self._process is None:
            return
        pid = self._process.pid
        self._process.send_signal(signal.SIGSTOP)  # no more sessions while we count them
        # Wait until the server is stopped: until then it may fork a session, which would block the next server's start.
        _wait_for_state(pid, "TZ")
        sessions = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for one in (pid, *sessions):
            os.kill(one, signal.SIGKILL)
        self._process.wait(START_SECONDS)
        for one in sessions:
            _wait_for_state(one, "ZX")

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)  # "fast": ends sessions instead of waiting for them
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database; its URL. Dropped afterwards, with any open sessions."""
        name = f"test_{secrets.token_hex(6)}"
        self._run("createdb", name)
        try:
            yield self.url(name)
        finally:
            self._run("dropdb", "--force", name)

    def execute(self, url: str, *statements: str) -> None:
        """Run SQL in the database at the URL, each statement in its own transaction."""
        name = url.partition("?")[0].rpartition("/")[2]
        commands = [f"--command={statement}" for statement in statements]
        self._run(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--output=/dev/null",
            "--set=ON_ERROR_STOP=1",
            f"--dbname={name}",
            *commands,
        )

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
        server = PostgresServer(folder, programs, as_user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
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


def _wait_for_state(pid: int, states: str) -> None:
    """Wait until a process is in one of `states` (proc(5)), or has ended."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in states:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the process {pid} is {state} and does not become {states}")
        time.sleep(0.01)
