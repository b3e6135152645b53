"""A real `dayfly serve` of a benchmark's own: a free port, a state folder and an instance name that nobody else has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS = 120.0


@contextmanager
def running_service(folder: Path, *, accelerator: str) -> Iterator[str]:
    """Yields its URL; ends it afterwards. Its log is `folder`/serve.log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = os.environ | {
        "DAYFLY_STATE_DIR": str(folder / "state"),
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_INSTANCE": f"bench-{port}",
        "DAYFLY_ACCELERATOR": accelerator,
    }
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dayfly"), "serve"], env=variables, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the service does not become ready:\n{log.read_text()[-4000:]}")
