"""The service under trial: `dayfly serve` in its own process, with its own state and instance.

Not here: the code of that process (service_process.py).
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

from dayfly.doctor.full.faults import Fault
from dayfly.doctor.full.report import TrialFailed
from dayfly.domain.cluster.model import Endpoint
from dayfly.settings import Settings
from dayfly.store import Store

_END_SECONDS: Final = 30.0
_SURVEY_SECONDS: Final = 5.0
"""The garbage collection of deleted templates' volumes, which a trial awaits, runs at least this often."""
_TAIL_BYTES: Final = 20_000
_LOOPBACK: Final = "127.0.0.1"


def trial_settings(operator: Settings, state_dir: Path) -> Settings:
    """The operator's settings for the host, with a new state folder, database, key, port and instance."""
    own = {
        "state_dir": state_dir,
        "database_url": None,
        "secrets_key_file": state_dir / "secrets.key",
        "secrets_key": None,
        "instance": f"{operator.instance}.doctor-{secrets.token_hex(4)}",
        "listen_address": _LOOPBACK,
        "listen_port": _free_port(),
        "listen_socket": None,
        "loopback_is_operator": False,
        "oidc_file": None,
        "host_names": (),
        "tls": "off",
        "tls_certificate": None,
        "tls_key": None,
        "default_ttl_seconds": None,
        "template_auto": False,
        "registry_caches": (),
        "survey_seconds": min(operator.survey_seconds, _SURVEY_SECONDS),
        "log_format": "console",
        "log_level": "info",
    }
    return operator.model_copy(update=own)


async def operator_token(settings: Settings) -> str:
    """A token for the trials. Makes the service's database, before the service begins."""
    store = await Store.open(settings.database)
    try:
        return (await store.tokens.replace_first())[1]
    finally:
        await store.close()


class TrialService:
    """The service's process. Its log is a file in the state folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Process | None = None
        self._started = asyncio.Event()
        self._asked_to_end = False
        self.log_file = settings.state_dir / "service.log"

    @property
    def url(self) -> str:
        return f"http://{Endpoint(self._settings.listen_address, self._settings.listen_port)}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns when the process runs; its API may not answer yet."""
        # In a new session: Ctrl-C on the terminal must not end the service, which the clean-up still needs.
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "dayfly.doctor.full.service_process"),
                stdin=PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        # The pipe stays open: when the examination ends, however it ends, the process reads its end and ends, too.
        self._process.stdin.write(self._settings.model_dump_json().encode() + b"\n")
        await self._process.stdin.drain()
        self._started.set()

    async def unexpected_end(self) -> Fault:
        """Returns when the process has ended without a request."""
        await self._started.wait()
        assert self._process is not None  # noqa: S101 - it was started
        code = await self._process.wait()
        if self._asked_to_end:
            await asyncio.Event().wait()
        message = f"the service ended by itself with exit code {code}: {self._last_line()}"
        return Fault("service_exited", message, {"service.log": self.log()})

    async def end(self) -> str:
        """End the process with SIGTERM, then SIGKILL; a sentence about it. Raises TrialFailed after an unclean end."""
        process, self._asked_to_end = self._process, True
        if process is None:
            return "the service was not started"
        if process.returncode is not None:
            return f"the service had ended with exit code {process.returncode}"
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_SECONDS):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise TrialFailed(
                "service_not_ended", f"the service did not end within {_END_SECONDS:.0f} s of SIGTERM"
            ) from None
        if code != 0:
            raise TrialFailed("service_exited", f"the service ended with exit code {code}: {self._last_line()}")
        return "the service ended cleanly"

    def log(self) -> str:
        """The end of the log."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def _last_line(self) -> str:
        lines = self.log().strip().splitlines()
        return lines[-1] if lines else "it logged nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
