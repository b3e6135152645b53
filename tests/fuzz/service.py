"""Starts the service of the fuzz runs, with callers: the operator, and a user of a team."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from dayfly.operator_token import FILE
from tests.support.service import free_port

_START_SECONDS: Final = 180
_END_SECONDS: Final = 20
_LOG_CHARACTERS: Final = 8000
_TEAM: Final = "team-storage"


@dataclass(frozen=True)
class Service:
    """`tokens`: by the name of the caller. `keeps`: ids and names of what no request may delete: tokens and team."""

    url: str
    tokens: Mapping[str, str]
    keeps: frozenset[str]


@contextmanager
def running_service() -> Iterator[Service]:
    """A new service on SQLite that requires authentication; ends with its folder. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="dayfly-fuzz-") as name:
        folder = Path(name)
        port = free_port()
        url, log = f"http://127.0.0.1:{port}", folder / "log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DAYFLY_")} | {
            "DAYFLY_STATE_DIR": name,
            "DAYFLY_CACHE_DIR": f"{name}/cache",
            "DAYFLY_LISTEN_PORT": str(port),
            "DAYFLY_BAKES": "serve",
            "DAYFLY_ACCELERATOR": "tcg",
            "DAYFLY_RATE_LIMIT_PER_MINUTE": str(10**9),
            "DAYFLY_DEFAULT_TTL_SECONDS": "60",  # so that clusters come and go
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.process"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            _wait(process, url)
            yield _prepare(url, (folder / FILE).read_text().strip())
            _require_running(process)
        except Exception as error:
            error.add_note(f"the end of the service's log:\n{log.read_text()[-_LOG_CHARACTERS:]}")
            raise
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        _require_running(process)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the service did not answer within {_START_SECONDS} s")
        time.sleep(0.05)


def _require_running(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"the service ended by itself, with exit code {process.returncode}")


def _prepare(url: str, operator: str) -> Service:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {operator}"}, trust_env=False) as http:
        team = http.post("/v1/teams", json={"name": _TEAM}).raise_for_status()
        made = http.post("/v1/tokens", json={"name": "ci", "team": _TEAM, "role": "user"}).raise_for_status()
    tokens = {"operator": operator, "user": made.json()["token"]}
    ids = (token.split("_")[1] for token in tokens.values())
    return Service(url, tokens, frozenset({_TEAM, team.json()["id"], *ids}))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
